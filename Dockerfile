# Two images: `--target postgres`, PostgreSQL 15 with the extension, and `--target daemon`.
ARG DEBIAN=bookworm

FROM rust:1.95-${DEBIAN} AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends \
    libclang-dev postgresql-15 postgresql-server-dev-15
WORKDIR /src
COPY . .
# Into this stage's own PostgreSQL, from where the next stage takes the files.
RUN cargo xtask install-ext --release --pg-major 15
RUN cargo build --release --locked -p forge-daemon

FROM postgres:15-${DEBIAN} AS postgres
COPY --from=build /usr/lib/postgresql/15/lib/forge.so /usr/lib/postgresql/15/lib/
COPY --from=build /usr/share/postgresql/15/extension/forge* /usr/share/postgresql/15/extension/
CMD ["postgres", "-c", "shared_preload_libraries=forge"]

FROM debian:${DEBIAN}-slim AS daemon
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --uid 10001 forge
COPY --from=build /src/target/release/forge-daemon /usr/local/bin/
USER forge
# Outside a container a node listens on loopback only; in one the container is the boundary.
ENV FORGE_HTTP__LISTEN=0.0.0.0:7070 FORGE_GRPC__LISTEN=0.0.0.0:7170 FORGE_LOG__FORMAT=json
EXPOSE 7070 7170
STOPSIGNAL SIGTERM
ENTRYPOINT ["forge-daemon"]
CMD ["serve"]
