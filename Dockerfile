# syntax=docker/dockerfile:1
# The program and what it needs to run, in an otherwise empty image: no shell, no package manager, user 65532.
#
#   docker build -t tally .          needs BuildKit, and half an hour on two cores; a processor with AVX2 to run on

FROM docker.io/library/rust:1.95.0-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# What scripts/setup.sh asks for, and what the image takes from Debian. Versions are those of the base image's release.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential make mold curl python3 perl ca-certificates tzdata \
      fonts-noto-cjk zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
ENV TALLY_CACHE=/cache CARGO_HOME=/cargo
RUN --mount=type=cache,target=/cache --mount=type=cache,target=/cargo \
    make release \
 && scripts/image-root.sh /cache/release/release/tally /image

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tally" \
      org.opencontainers.image.description="Meters LLM tokens sold by telecom operators and settles them with the model vendors" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image /
USER 65532:65532
# 8080: HTTP. 5433: the PostgreSQL wire. 8815: Arrow Flight SQL. All are on loopback until they are told otherwise.
EXPOSE 8080 5433 8815
STOPSIGNAL SIGTERM
ENV PATH=/usr/bin
ENTRYPOINT ["/usr/bin/tally"]
CMD ["--help"]
