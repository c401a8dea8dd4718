.PHONY: release setup-release prices help setup setup-tests check demo test faults overload lint image mesh soak bench bench-gate matrix groups histories bench-controller chaos month
help:
	@echo "make setup   make .venv with the command .venv/bin/spendgate"
	@echo "make prices  the price catalogue from its sources anew, and what that changes"
	@echo "make check   lint, format, types, import contracts, unit tests: about a minute; no browser, npm or Prometheus"
	@echo "make demo    a budget from its first cent to its last, with the official SDKs through a real Envoy"
	@echo "make test    set up everything, run all tests"
	@echo "make faults  Redis killed, cut off, flushed, failed over… under load for minutes; the books are compared"
	@echo "make overload   more than the workers can do, at full size: nobody passes undecided"
	@echo "make image   the Dockerfile's steps without Docker, all packages anew"
	@echo "make release VERSION=1.2.3   wheel, sdist, image, chart, manifests, SBOM, checksums, signature into dist/, and checked"
	@echo "make mesh    the conformance tests behind Envoys as Istio and Envoy Gateway configure them"
	@echo "make soak    attacks of a team without money for ten minutes in each failure mode; 2,000 streams silent for three; all parts rolled for ten"
	@echo "make groups  fifty gateways of two hundred clients on one group of twenty teams, on a cluster with a failover"
	@echo "make histories   ten thousand random histories of the ledger, held against its laws (COUNT=10000)"
	@echo "make month   a million exchanges of a scripted month: four books, one sum (COUNT=1000000)"
	@echo "make lint    ruff (check and format), mypy --strict, import contracts"
	@echo "make bench-controller   ten thousand budgets on a real API server: memory, CPU, time to enforcement"
	@echo "make chaos   controllers under faults, the long form: a thousand crossings, a minute of cut watches"
	@echo "make bench   Envoy alone, a no-op processor and spendgate side by side, on each gRPC engine"
	@echo "make bench-gate   fails where spendgate fell behind the no-op by a tenth more than bench/ratios.json says"
	@echo "make matrix  each gRPC engine behind each Envoy that is supported (VERSIONS=\"1.36.4 1.40.0\")"
setup:
	@scripts/setup.sh
setup-tests:
	@scripts/setup_tests.sh
check:
	@scripts/check.sh
demo: setup
	@.venv/bin/python scripts/demo.py
test: setup-tests
	@scripts/test.sh
faults: setup-tests
	@SPENDGATE_FAULTS_MINUTES=$${SPENDGATE_FAULTS_MINUTES:-10} .venv/bin/python -m pytest tests/faults
lint: setup-tests
	@.venv/bin/ruff check src tests scripts bench
	@.venv/bin/ruff format --quiet --check src tests scripts bench
	@.venv/bin/mypy
	@PYTHONPATH=src .venv/bin/lint-imports
image: setup-tests
	@SPENDGATE_TEST_IMAGE=whole .venv/bin/python -m pytest tests/integration/deploy/test_image.py
# not those of transparency: a mesh's own proxies add headers (server, x-envoy-upstream-service-time)
MESH_TESTS = $(patsubst %,tests/conformance/test_%.py,expected_behaviour limits aborts other_apis cut_streams concurrency)
mesh: setup-tests
	@for house in istio-gateway istio-sidecar envoy-gateway; do \
	  SPENDGATE_TEST_HOUSES=$$house .venv/bin/python -m pytest $(MESH_TESTS) || exit 1; done
overload: setup-tests
	@SPENDGATE_TEST_OVERLOAD=10 .venv/bin/python -m pytest tests/faults/test_late.py
chaos: setup-tests
	@SPENDGATE_TEST_CHAOS=1000 SPENDGATE_TEST_CUT_S=60 .venv/bin/python -m pytest -s \
	  tests/integration/kube/test_chaos.py tests/integration/kube/test_api_server_faults.py
soak: setup-tests
	@SPENDGATE_EXCHANGES=$(or $(EXCHANGES),1000000) .venv/bin/python -m pytest -q -s --timeout=7200 \
	  tests/integration/supervisor/test_long_run.py
	@SPENDGATE_SOAK_MINUTES=$(or $(MINUTES),10) .venv/bin/python -m pytest -q -s tests/faults/test_attack.py
	@SPENDGATE_SILENT_S=180 SPENDGATE_SILENT_STREAMS=2000 .venv/bin/python -m pytest -q --timeout=1200 \
	  tests/integration/supervisor/test_silence.py
	@SPENDGATE_ROLL_STREAM_S=60 SPENDGATE_ROLL_MINUTES=$(or $(MINUTES),10) .venv/bin/python -m pytest -q -s \
	  tests/integration/kube/test_rolling_upgrade.py
month: setup-tests
	@SPENDGATE_MONTH_EXCHANGES=$(or $(COUNT),1000000) .venv/bin/python -m pytest -q tests/integration/finops/test_scripted_month.py
groups: setup-tests
	@SPENDGATE_LONG_GROUPS=1 .venv/bin/python -m pytest -q --timeout=7200 tests/integration/ledger/test_groups.py -k many_gateways

histories: setup-tests
	@SPENDGATE_HISTORIES=$(or $(COUNT),10000) .venv/bin/python -m pytest -q --timeout=7200 tests/integration/ledger/test_histories.py tests/integration/ledger/test_limit_histories.py
setup-release:
	@scripts/setup_release.sh
release:
	@[ -n "$(VERSION)" ] || { echo "release: say which: make release VERSION=1.2.3 (KEY=… for a key of yours)" >&2; exit 2; }
	@$(MAKE) --no-print-directory setup-release
	@.venv/bin/python scripts/release --version "$(VERSION)" $(if $(KEY),--key "$(KEY)")
bench: setup-tests
	@.venv/bin/python bench/run.py
	@.venv/bin/python bench/ledger.py limits
bench-gate: setup-tests
	@.venv/bin/python bench/run.py --gate --only "spendgate ngh2,spendgate h2,spendgate grpcio"
matrix: setup-tests
	@VERSIONS="$(VERSIONS)" scripts/matrix.sh
bench-controller: setup-tests
	@.venv/bin/python bench/controller.py

prices:
	@git show HEAD:src/spendgate/pricing/catalogue.json > .catalogue-before.json
	@.venv/bin/python scripts/build_prices.py --facts
	@.venv/bin/spendgate prices diff .catalogue-before.json src/spendgate/pricing/catalogue.json; rm -f .catalogue-before.json
