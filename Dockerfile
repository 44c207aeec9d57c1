# The one image of controller and agent. It takes a program that was built before:
#   cargo build --release && docker build --build-arg BINARY=target/release/volume-dispatcher -t volume-dispatcher:0.1.0 .
# The base must have a C library that is not older than that of the machine that built the program.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
ARG BINARY=target/release/volume-dispatcher
# Growing a filesystem needs these; a base that has them needs no network.
RUN command -v xfs_growfs >/dev/null && command -v resize2fs >/dev/null && test -d /etc/ssl/certs || \
    (apt-get update && apt-get install -y --no-install-recommends e2fsprogs xfsprogs ca-certificates && rm -rf /var/lib/apt/lists/*)
COPY ${BINARY} /usr/local/bin/volume-dispatcher
ENTRYPOINT ["/usr/local/bin/volume-dispatcher"]
