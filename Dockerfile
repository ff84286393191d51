# One static binary in an otherwise empty image.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache ca-certificates musl-dev
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist --bin tanist

# What the release workflow takes the binary from: what is published is what runs.
FROM scratch AS binary
COPY --from=build /src/target/dist/tanist /tanist

FROM binary
# Whom webhooks by https are known by.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# The arbiter's. An agent needs one capability, which only root keeps, so its manifest says
# runAsUser 0 and drops all capabilities but NET_RAW.
USER 65532:65532
ENTRYPOINT ["/tanist"]
