# One file, one target per image: signals, train, serving, search. Weights and data arrive through the store, never in an image.
# BASE needs Python with venv; for `serving` also libpython. Packages are those of the locks, by their hashes. Build secrets `pip` (a
# configuration) and `certificates` (a file that it may name as /run/secrets/certificates) are of the build alone.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
RUN useradd --uid 65532 --no-create-home reelspace && python3 -m venv /opt/venv
WORKDIR /opt/reelspace
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM base AS wheel
COPY requirements/build.lock ./requirements/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=certificates \
    pip install --require-hashes -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY reelspace ./reelspace
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /opt/wheel .
# Of kfp a step needs its executor alone, which needs nothing else.
COPY requirements/dev.lock ./requirements/
RUN sed -n '/^kfp==/,/[^\\]$/p' requirements/dev.lock > /opt/wheel/kfp.lock

FROM base AS signals
COPY requirements ./requirements
COPY --from=wheel /opt/wheel /opt/wheel
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=certificates \
    pip install --require-hashes -r requirements/signals.lock -r requirements/media.lock \
 && pip install --no-deps --require-hashes -r /opt/wheel/kfp.lock && pip install --no-deps --no-index /opt/wheel/*.whl
USER 65532

FROM base AS train
COPY requirements ./requirements
COPY --from=wheel /opt/wheel /opt/wheel
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=certificates \
    pip install --require-hashes -r requirements/train.lock \
 && pip install --no-deps --require-hashes -r /opt/wheel/kfp.lock && pip install --no-deps --no-index /opt/wheel/*.whl
USER 65532

FROM base AS serving
# Triton with encoders, or with shards, which are searched in one thread each.
ENV OPENBLAS_NUM_THREADS=1 REELSPACE_BACKENDS=/opt/reelspace/backends
COPY requirements ./requirements
COPY --from=wheel /opt/wheel /opt/wheel
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=certificates \
    pip install --require-hashes -r requirements/serving.lock -r requirements/search.lock && pip install --no-deps --no-index /opt/wheel/*.whl
COPY backends /opt/reelspace/backends
USER 65532

FROM base AS search
# Many small products at a time: one thread each.
ENV OPENBLAS_NUM_THREADS=1
COPY requirements ./requirements
COPY --from=wheel /opt/wheel /opt/wheel
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=certificates \
    pip install --require-hashes -r requirements/search.lock \
 && pip install --no-deps --require-hashes -r /opt/wheel/kfp.lock && pip install --no-deps --no-index /opt/wheel/*.whl
USER 65532
