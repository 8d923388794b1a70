# One backend. First stage: the locked packages as byte code; last stage: Python, those packages and the app.
FROM python:3.13-slim AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/root/.cache/pip pip install --root-user-action=ignore uv
WORKDIR /srv
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-default-groups --extra otel
# The AWS library describes some 400 services; Bedrock needs its own and those that give credentials. Compiled modules
# come with their symbols: a quarter of everything.
RUN find .venv/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
    ! -name 'bedrock*' ! -name 'sso*' ! -name sts ! -name signin -exec rm -r {} + \
 && find .venv/lib -type d -name tests -prune -exec rm -r {} + \
 && find .venv/lib -name '*.so' -exec strip --strip-unneeded {} +
COPY app app
COPY static static
# A checkout made with umask 077 is readable by its owner alone; the backends are another user.
RUN chmod -R a+rX app static && python -m compileall -q app

FROM python:3.13-slim
WORKDIR /srv
COPY --from=build /srv /srv
ENV PATH=/srv/.venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fastapi-agent-chat" \
      org.opencontainers.image.description="A self-hosted AI-agent chat server that stops the moment you say so" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# The process, not Redis: a Redis that is away must not restart backends.
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s --start-interval=1s --retries=3 \
    CMD ["python", "-IS", "-c", "import http.client, os, sys; \
c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=4); \
c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "app"]
