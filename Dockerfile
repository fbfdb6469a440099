# The service in a container: not root, nothing written but the index and /tmp, kernels compiled.
#
#   docker build -t lsr .
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8321:8321 -v "$PWD/shop:/data/shop" lsr
FROM python:3.12-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY lsr lsr
COPY index index
COPY eval eval
COPY service service
# A build of torch without CUDA, where the package index has one: give its address as TORCH_INDEX.
ARG TORCH_INDEX=""
RUN python -m venv /opt/lsr \
    && if [ -n "$TORCH_INDEX" ]; then \
        /opt/lsr/bin/pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" torch; \
    fi \
    && /opt/lsr/bin/pip install --no-cache-dir --constraint constraints.txt '.[serve]'

FROM python:3.12-slim-bookworm
RUN groupadd --gid 10001 lsr \
    && useradd --uid 10001 --gid lsr --no-create-home --shell /usr/sbin/nologin lsr \
    && mkdir -p /data /opt/cache \
    && chown lsr:lsr /data /opt/cache
COPY --from=build /opt/lsr /opt/lsr
ENV PATH=/opt/lsr/bin:$PATH \
    LSR_CACHE=/opt/cache \
    LSR_OFFLINE=1 \
    LSR_SERVE__HOST=0.0.0.0 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
# The kernels are compiled for this image, not by the first query of each container.
RUN lsr warmup
WORKDIR /data
EXPOSE 8321
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8321/readyz', timeout=2)"]
ENTRYPOINT ["lsr"]
CMD ["serve", "/data/shop"]
