"""Groups of items by keys that need not be hashable."""

from typing import TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")


def add_to_group(groups: list[tuple[Key, list[Item]]], key: Key, item: Item) -> None:
    """Add an item to the group with an equal key, or to a new group at the end.

    Args:
        groups: key and items of each group.
        key: of the item.
        item: to add.
    """
    for known, group in groups:
        if known == key:
            group.append(item)
            return
    groups.append((key, [item]))
