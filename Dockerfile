# Soundsight with everything it needs on NVIDIA GPUs, for Slurm (as a container) and Kubernetes.
#
#   docker build --tag soundsight:0.1.0 .
#   docker run --rm --gpus all --shm-size 8g --volume "$PWD/data:/app/data:ro" --volume "$PWD/runs:/app/runs" \
#     soundsight:0.1.0 pretrain pretrain/configs/debug.toml --shards data/shards --components runs/graph --out runs/encoder
#
# torch 2.13.0 brings its own CUDA 13.0, cuDNN and NCCL, and needs a driver from 580 on. faiss comes for CUDA 12, whose
# libraries lie beside torch's: its build for CUDA 13 asks for 13.2, which this torch excludes (pip, 2026-11).
ARG BASE=nvidia/cuda:13.0.2-base-ubuntu24.04

FROM ${BASE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Ubuntu keeps one version of a package: the base's tag pins them as far as they can be.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /app
# What is depended on first, so that a change of the code alone builds in seconds.
COPY pyproject.toml constraints.txt constraints-image.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
more = project['optional-dependencies']; \
print(*project['dependencies'], *more['cuda12'], *more['s3'], *more['gs'], sep='\n')" > /tmp/requirements.txt \
 && pip install --no-cache-dir --constraint constraints.txt --constraint constraints-image.txt \
    --requirement /tmp/requirements.txt
COPY README.md LICENSE ./
COPY launch launch
COPY shards shards
COPY graph graph
COPY pretrain pretrain
COPY finetune finetune
RUN pip install --no-cache-dir --no-deps --constraint constraints.txt --editable .

FROM ${BASE}
LABEL org.opencontainers.image.title="soundsight" \
      org.opencontainers.image.description="Cross-modal pre-training at scale for audio-visual video parsing" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# tini, as the first process, buries orphans and passes signals on; triton compiles the loss's kernels with gcc.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev python3 python3-dev tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 soundsight \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin soundsight \
 && install --directory --owner 10001 --group 10001 /app/data /app/runs
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /app
USER 10001:10001
ENTRYPOINT ["/usr/bin/tini", "--", "python", "-m", "launch"]
CMD ["--help"]
