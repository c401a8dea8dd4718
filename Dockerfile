# The image of `spendgate serve`, `spendgate controller` and all other commands; it also brings the Envoy that spendgate
# is tested with (`envoy`). No instruction of the last stage needs a shell, nor does anything that runs.
FROM python:3.11.17-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/spendgate
RUN mkdir -m 0770 /opt/data
COPY deploy/image/requirements.txt ./
RUN /opt/spendgate/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/spendgate/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.11.17-slim-bookworm
COPY --from=build /opt/spendgate /opt/spendgate
# group 0 writes there, too: OpenShift runs images under any user id of that group
COPY --from=build --chown=65532:0 /opt/data /var/lib/spendgate
ENV PATH=/opt/spendgate/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 SPENDGATE_DATA_DIR=/var/lib/spendgate
USER 65532:65532
WORKDIR /var/lib/spendgate
EXPOSE 9002 9090
ENTRYPOINT ["spendgate"]
CMD ["--help"]
