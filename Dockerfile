# One file, one target per image: signals, train, serving, search. Weights and data arrive through the store, never in an image.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
RUN useradd --uid 65532 --no-create-home reelspace
WORKDIR /opt/reelspace
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
COPY pyproject.toml README.md LICENSE ./
COPY requirements ./requirements
COPY reelspace ./reelspace

FROM base AS signals
RUN pip install --no-cache-dir --require-hashes -r requirements/signals.lock -r requirements/media.lock \
 && pip install --no-cache-dir --no-deps . && pip install --no-cache-dir --no-deps kfp==2.17.0
USER 65532

FROM base AS train
RUN pip install --no-cache-dir --require-hashes -r requirements/train.lock \
 && pip install --no-cache-dir --no-deps . && pip install --no-cache-dir --no-deps kfp==2.17.0
USER 65532

FROM base AS serving
RUN pip install --no-cache-dir --require-hashes -r requirements/serving.lock && pip install --no-cache-dir --no-deps .
COPY backends /opt/reelspace/backends
USER 65532

FROM base AS search
# Many small products at a time: one thread each.
ENV OPENBLAS_NUM_THREADS=1
RUN pip install --no-cache-dir --require-hashes -r requirements/search.lock \
 && pip install --no-cache-dir --no-deps . && pip install --no-cache-dir --no-deps kfp==2.17.0
COPY backends /opt/reelspace/backends
USER 65532
