# One image for every role: site, gate, worker, scheduler and migrate differ in their command and in a
# few variables, as deploy/compose.yaml shows.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /build \
    && python3 -m venv --without-pip /opt/taglock
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/run.txt requirements/build.txt requirements/
RUN /build/bin/pip install --require-hashes --requirement requirements/build.txt \
    && /build/bin/pip --python /opt/taglock/bin/python install \
        --require-hashes --requirement requirements/run.txt
COPY . .
RUN /build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheel . \
    && /build/bin/pip --python /opt/taglock/bin/python install --no-deps /wheel/*.whl \
    && DATA_DIR=/build/data STATIC_DIR=/usr/share/taglock/static \
        /opt/taglock/bin/taglock collectstatic --no-input --verbosity 0

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-log-init --no-create-home \
        --home-dir /var/lib/taglock --shell /usr/sbin/nologin taglock \
    && install -d -o taglock -g taglock -m 700 /var/lib/taglock \
    && install -d -o taglock -g taglock /trust
COPY --from=build /opt/taglock /opt/taglock
COPY --from=build /usr/share/taglock /usr/share/taglock
ENV PATH=/opt/taglock/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/taglock \
    STATIC_DIR=/usr/share/taglock/static \
    DJANGO_SETTINGS_MODULE=packages_site.settings \
    GRANIAN_BLOCKING_THREADS=8 \
    GRANIAN_HOST=0.0.0.0 \
    GRANIAN_PORT=8001
# By number, so that Kubernetes can tell that it isn't root.
USER 10001:10001
WORKDIR /var/lib/taglock
EXPOSE 8001 8002
# Of site and gate. Worker and scheduler have no address.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['GRANIAN_PORT'] + '/healthz', timeout=4)"]
CMD ["taglock-serve"]
