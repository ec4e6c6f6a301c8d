# One recipe for every image: `docker build --build-arg SERVICE=vault -t tallyrun/vault .` (or `make images`).
# An image holds one service and what that service imports, nothing else: no engines, no build tools, no pip.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# What builds our own wheels stays in this stage.
COPY deploy/images/build.lock deploy/images/
RUN pip install --no-cache-dir --require-hashes -r deploy/images/build.lock

ARG SERVICE
COPY deploy/images/${SERVICE}.lock deploy/images/
RUN python -m venv --without-pip /opt/tallyrun \
    && pip --python /opt/tallyrun install --no-cache-dir --no-deps --require-hashes -r "deploy/images/${SERVICE}.lock"

ARG SOURCE=services/${SERVICE}
COPY libs/common libs/common
COPY ${SOURCE} ${SOURCE}
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels ./libs/common "./${SOURCE}" \
    && pip --python /opt/tallyrun install --no-cache-dir --no-deps --no-index /wheels/*.whl

# Of plotly only the browser's script is served; the rest of it is 55 MB.
RUN find /opt/tallyrun/lib -path '*/site-packages/plotly/*' ! -path '*/plotly/package_data*' -delete

# `entrypoint`, because ENTRYPOINT takes no build argument.
ARG MODULE=${SERVICE}
RUN printf '#!/bin/sh\nexec python -m %s "$@"\n' "${MODULE}" > /opt/tallyrun/bin/entrypoint \
    && chmod 755 /opt/tallyrun/bin/entrypoint


FROM ${PYTHON_IMAGE}
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="Tallyrun ${SERVICE}" \
    org.opencontainers.image.description="Run prompts on your own keys, at any volume, and know what every one cost." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${PYTHON_IMAGE}"
COPY --from=build /opt/tallyrun /opt/tallyrun
# Where a volume for files is mounted; a new one takes the mode of this folder.
RUN install -d -m 1777 /var/lib/tallyrun/files

# In a container every service listens at the same port; HOME is the one place that may be written to.
ENV PATH=/opt/tallyrun/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    HOST=0.0.0.0 \
    GATEWAY_PORT=8080 VAULT_PORT=8080 ANALYTICS_PORT=8080 RUNNER_PORT=8080 SIMULATOR_PORT=8080 SIMULATOR_HOST=0.0.0.0
EXPOSE 8080
WORKDIR /tmp
# A number, so that Kubernetes can see that it is not root. Any other one works as well: nothing is owned by it.
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-m", "common.probe", "http://127.0.0.1:8080/health/live"]
ENTRYPOINT ["entrypoint"]
