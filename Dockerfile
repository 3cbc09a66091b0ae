# One image for every role, `herdsman master | worker | client`, and for the command-line client.

# The dependencies have a layer of their own, over empty sources, so that a change of ours does not build them again.
FROM rust:1.95-slim-bookworm AS dependencies
LABEL herdsman.stage=build
WORKDIR /src
# Debug information is most of the binary's size, and panics tell where they happened without it.
ENV CARGO_PROFILE_DIST_STRIP=debuginfo
COPY Cargo.toml Cargo.lock ./
RUN mkdir services tests benches && touch services/lib.rs tests/main.rs benches/micro.rs \
    && echo 'fn main() {}' > build.rs && cp build.rs services/main.rs \
    && cargo build --locked --profile dist

FROM dependencies AS build
COPY build.rs ./
COPY proto proto
COPY services services
# Cargo goes by time, and what was copied is older than what was built of the empty sources.
RUN touch build.rs services/lib.rs services/main.rs && cargo build --locked --profile dist

FROM debian:bookworm-slim
LABEL herdsman.stage=image
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin herdsman
COPY --from=build /src/target/dist/herdsman /usr/local/bin/herdsman
USER 10001:10001
# client 7070, master 7071, worker 7072
EXPOSE 7070 7071 7072
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["herdsman", "health"]
ENTRYPOINT ["herdsman"]
CMD ["--help"]
