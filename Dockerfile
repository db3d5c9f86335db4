# `make train` in a container.
#   on a CPU:  docker build -t experiments . && docker run --rm experiments
#   on a GPU:  docker build -t experiments --build-arg BASE=nvidia/cuda:13.0.2-runtime-ubuntu24.04 .
#              docker run --rm --gpus all experiments
# Other commands: docker run --rm experiments python -m experiments.check
# Runs stay in a folder of yours: docker run --rm -v "$PWD/outputs:/home/trainer/experiments/outputs" experiments
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# Further options of pip, such as --index-url with an index of packages of torch for a CPU, which are much smaller.
ARG PIP_OPTIONS=""

ENV DEBIAN_FRONTEND=noninteractive
# The newest fixes of the base, so no versions are pinned; the CUDA base has no Python of its own.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && if ! command -v python3 >/dev/null; then apt-get install -y --no-install-recommends python3 python3-venv; fi \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home trainer \
    && install -d -o 10001 -g 10001 /home/trainer/experiments /home/trainer/experiments/outputs

USER 10001
WORKDIR /home/trainer/experiments
ENV EXTRAS=onnx,search \
    PIP_NO_CACHE_DIR=1 \
    PATH=/home/trainer/experiments/.venv/bin:$PATH
COPY --chown=10001:10001 constraints.txt ./
RUN python3 -m venv .venv && python -m pip install ${PIP_OPTIONS} -c constraints.txt torch torchvision

COPY --chown=10001:10001 pyproject.toml README.md LICENSE CHANGELOG.md Makefile ./
COPY --chown=10001:10001 conf conf
COPY --chown=10001:10001 src src
RUN make .venv/.installed
CMD ["make", "train"]
