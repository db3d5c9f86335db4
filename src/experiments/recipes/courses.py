"""The lessons in the order of the courses that teach them, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

CourseName = Literal["cs231n", "scratch", "specialization"]
Sections = Mapping[str, Sequence[str]]
"""Names of lessons by the section that teaches them, in the order of the course."""

TITLES: Mapping[CourseName, str] = {
    "cs231n": "CS231n, Convolutional neural networks for visual recognition (Stanford)",
    "scratch": "Saito, Deep Learning from Scratch",
    "specialization": "Ng, Deep Learning specialization",
}
COURSES: Mapping[CourseName, Sections] = {
    "cs231n": {
        "Image classification: validation sets": ["split_bug", "cross_validation", "best_epoch_flatters"],
        "Neural networks 1: architectures": ["high_bias", "sine_regression"],
        "Neural networks 2: data preprocessing": ["centred_inputs", "cnn_inputs"],
        "Neural networks 2: weight initialization": [
            "zero_weights",
            "small_weights_vanish",
            "small_weights_shallow",
            "tanh_saturates",
            "xavier_fails_with_relu",
            "jacobian_singular_values",
            "he_signal_30_layers",
            "he_learns_30_layers",
            "he_learns_30_dense_layers",
        ],
        "Neural networks 2: batch normalization": [
            "batch_norm_identity",
            "batch_norm_initializers",
            "batch_norm_rate",
            "batch_norm_sigmoid",
        ],
        "Neural networks 2: regularization": [
            "dropout_keep_or_drop",
            "dropout_scaled_at_test",
            "dropout_max_norm_small",
            "dropout_max_norm",
            "keras_mlp",
        ],
        "Neural networks 3: gradient checks": ["gradient_check"],
        "Neural networks 3: sanity checks": ["initial_loss", "overfit_twenty"],
        "Neural networks 3: babysitting the learning process": ["learning_rates", "update_ratio", "babysitting"],
        "Neural networks 3: parameter updates": [
            "nesterov",
            "annealing",
            "adagrad_rates",
            "adam_bias_correction",
            "adam_logistic",
        ],
        "Neural networks 3: hyperparameter optimization": ["random_hits", "random_beats_grid", "log_draws"],
        "Neural networks 3: model ensembles": ["dropout_ensemble", "ensemble"],
        "Transfer learning": ["fine_tuning"],
        "Recurrent neural networks (lecture 10 of 2017)": ["language_model", "gradient_through_time"],
        "Generative models (lecture 13 of 2017): autoencoders": ["autoencoder"],
    },
    "scratch": {
        "4.2 Loss functions": ["sigmoid_log_zero"],
        "4.4 and 5.7.3 Gradients": ["gradient_check"],
        "6.1 Updating the parameters": [
            "sgd_zigzag",
            "adagrad_rates",
            "adam_bias_correction",
            "optimizer_speed",
            "optimizer_speed_mnist",
            "adam_logistic",
        ],
        "6.2 Initial weights": [
            "zero_weights",
            "activation_spread",
            "tanh_saturates",
            "xavier_fails_with_relu",
            "initializers_mnist",
        ],
        "6.3 Batch Normalization": [
            "batch_norm_identity",
            "batch_norm_order",
            "batch_norm_scales",
            "batch_norm_scales_mnist",
        ],
        "6.4 Regularization": [
            "overfitting_mnist",
            "dropout_keep_or_drop",
            "dropout_scaled_at_test",
            "dropout_ensemble",
            "ensemble",
        ],
        "6.5 Hyperparameters": [
            "split_bug",
            "best_epoch_flatters",
            "log_draws",
            "random_hits",
            "random_beats_grid",
            "coarse_to_fine_mnist",
        ],
        "8 Deep learning": ["he_learns_30_layers", "keras_mlp"],
    },
    "specialization": {
        "Course 1, week 2: Logistic regression": ["sigmoid_log_zero"],
        "Course 1, week 3: Shallow networks": ["zero_weights", "zero_biases", "nielsen_30_units"],
        "Course 2, week 1: Setting up": ["high_bias", "high_variance", "cross_validation"],
        "Course 2, week 1: Regularization": [
            "dropout_keep_or_drop",
            "dropout_scaled_at_test",
            "overfitting_mnist",
            "dropout_max_norm_small",
            "dropout_max_norm",
        ],
        "Course 2, week 1: Setting up the optimization": [
            "feature_scaling",
            "large_weights",
            "he_signal_30_layers",
            "gradient_check",
        ],
        "Course 2, week 2: Optimization algorithms": [
            "batch_sizes",
            "sgd_zigzag",
            "nesterov",
            "adam_bias_correction",
            "optimizer_speed",
            "annealing",
        ],
        "Course 2, week 3: Hyperparameter tuning": [
            "random_hits",
            "random_beats_grid",
            "log_draws",
            "update_ratio",
            "babysitting",
        ],
        "Course 2, week 3: Batch Normalization": [
            "batch_norm_identity",
            "batch_norm_order",
            "covariate_shift",
            "batch_norm_rate",
            "batch_norm_noise",
            "batch_norm_regularizes",
            "batch_norm_and_dropout",
            "batch_norm_single",
        ],
        "Course 2, week 3: Multi-class classification": ["softmax_hardmax", "linear_boundaries"],
        "Course 2, week 3: Programming frameworks": ["quadratic", "quadratic_coefficients"],
        "Course 3, week 2: Transfer learning": ["fine_tuning"],
        "Course 3, week 2: Multi-task learning": ["many_labels"],
        "Course 5, week 1: Recurrent neural networks": ["language_model", "gradient_through_time"],
    },
}

EARLIER_NAMES = {"random_search": "random_hits", "random_over_grid": "random_beats_grid"}
"""The present names of recipes that were renamed."""
EARLIER_LESSONS = {
    "experiments.lessons.normalization": "experiments.lessons.batch_norm",
    "experiments.lessons.normalizing": "experiments.lessons.batch_norm_sigmoids",
    "experiments.lessons.scales": "experiments.lessons.weight_scales",
    "experiments.lessons.scaling": "experiments.lessons.input_scales",
}
"""The present names of modules that were renamed; own recipes and old run folders may hold the earlier ones."""


def lessons_of(course: CourseName) -> list[str]:
    """Return the names of a course's lessons, in its order."""
    return [name for names in COURSES[course].values() for name in names]


def sections_of(lesson: str) -> dict[CourseName, str]:
    """Return the section that teaches a lesson, by course."""
    return {
        course: section
        for course, sections in COURSES.items()
        for section, names in sections.items()
        if lesson in names
    }


def present_name(lesson: str) -> str:
    """Return the present name of a recipe, from its present or an earlier one."""
    return EARLIER_NAMES.get(lesson, lesson)


def present_lesson(function: str) -> str:
    """Return the present dotted name of a lesson's function."""
    module, _, name = function.rpartition(".")
    return f"{EARLIER_LESSONS.get(module, module)}.{name}"
