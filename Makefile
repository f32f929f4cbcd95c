# Everything runs from a virtual environment in .venv; paths stay relative, for a clone may lie anywhere.
PYTHON ?= python3
PY := .venv/bin/python
TOOLS := ping:iputils-ping traceroute:traceroute mtr:mtr-tiny ip:iproute2
LAB_TOOLS := dnsmasq:dnsmasq-base
BENCH_TOOLS := wrk:wrk chromium:chromium
TEST_TOOLS := $(BENCH_TOOLS) unshare:util-linux curl:curl sshd:openssh-server \
	nginx:nginx-light haproxy:haproxy caddy:caddy apache2:apache2 apache2:libapache2-mod-wsgi-py3 \
	uwsgi:uwsgi-core uwsgi_python3:uwsgi-plugin-python3 fail2ban-regex:fail2ban logrotate:logrotate man:man-db \
	w3m:w3m lynx:lynx bird:bird2 vtysh:frr gobgp:gobgpd bgpctl:openbgpd \
	redis-server:redis-server openssl:openssl systemd-analyze:systemd visudo:sudo shellcheck:shellcheck
OTHER_PYTHONS := 3.12 3.13
COVERED := PYTHONDEVMODE=1 $(PY) -m coverage run -m pytest
# Each half of the tests keeps its own list of what failed; pytest ends with 1 for that, with 5 for nothing to do.
HALF = $(COVERED) -o cache_dir=.pytest_cache/$*
MODULES := $(shell sed -n 's/^py_modules = //p' setup.cfg | tr -d ,)
BUILD ?= build
PYZ ?= tinytracer.pyz
# Of what the one file depends on: nothing here imports these.
UNUSED := webob/client.py webob/dec.py webob/exc.py webob/static.py waitress/__main__.py waitress/runner.py

# Install the Debian packages of missing PROGRAM:PACKAGE pairs where that is allowed, else name them.
define install_missing
	@missing=""; PATH="$$PATH:/usr/sbin:/sbin"; \
	for pair in $(1); do \
		command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null && \
		if [ "$$(id -u)" = 0 ]; then sudo=""; else command -v sudo >/dev/null && sudo="sudo -n"; fi && \
		echo "Installing:$$missing" >&2 && $$sudo apt-get -qq update && $$sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get -qq install -y --no-install-recommends $$missing >/dev/null || \
		echo "Missing:$$missing. Install with: sudo apt-get install$$missing" >&2; \
	fi
endef

.PHONY: run check test lint unit others bench soak fuzz prices docs pyz wheel lab tools lab-tools bench-tools test-tools clean

# make run LISTEN=127.0.0.1:8081
run: .venv/run.stamp tools config.json
	$(PY) tinytracer.py $(LISTEN:%=--listen %)

check: .venv/run.stamp tools config.json
	$(PY) tinytracer.py check

tools:
	$(call install_missing,$(TOOLS))

lab-tools: tools
	$(call install_missing,$(LAB_TOOLS))

bench-tools:
	$(call install_missing,$(BENCH_TOOLS))

test-tools: lab-tools
	$(call install_missing,$(TEST_TOOLS))

config.json:
	cp config.json.template config.json

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed; name it, as in: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		[ "$$(id -u)" = 0 ] && sudo="" || sudo="sudo -n"; \
		echo "Installing: python3-venv" >&2 && \
		$$sudo apt-get -qq update && $$sudo apt-get -qq install -y python3-venv >/dev/null || \
		{ echo "Missing: python3-venv. Install with: sudo apt-get install python3-venv" >&2; exit 1; }; }
	$(PYTHON) -m venv .venv

.venv/run.stamp: setup.cfg pyproject.toml .venv/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable .
	touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

test: lint unit
	$(if $(TESTS),,$(MAKE) --jobs=2 --output-sync=target others)

lint: .venv/dev.stamp
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

unit: .venv/dev.stamp test-tools
	rm -f .coverage .coverage.*
	$(if $(TESTS),$(COVERED) $(TESTS),$(MAKE) --jobs=2 --output-sync=target unit-0 unit-1 && $(MAKE) again-0 again-1)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report $(if $(TESTS),--fail-under=0)

# Every other test file, for a core of its own.
unit-%:
	$(HALF) $(shell printf '%s\n' $(sort $(wildcard test_*.py tests/test_*.py)) | awk 'NR % 2 == $*') || [ $$? = 1 ]

# What failed beside the other half is asked once more, alone; what fails then has failed.
again-%:
	$(HALF) --last-failed --last-failed-no-failures none || [ $$? = 5 ]

# The tests that need no lab and no browser, on the other supported Pythons that are installed.
others: $(OTHER_PYTHONS:%=other-%)

other-%: .venv/dev.stamp test-tools
	@python=""; for each in "python$*" "$$HOME"/.pyenv/versions/$*.*/bin/python3; do \
		"$$each" -c '' 2>/dev/null && python="$$each"; done; \
	[ -n "$$python" ] || { echo "Python $* is not installed: its tests are left out."; exit 0; }; \
	{ [ -x ".venv-$*/bin/python" ] || "$$python" -m venv ".venv-$*"; } && \
	flock Makefile ".venv-$*/bin/python" -m pip install --quiet --disable-pip-version-check \
		--config-settings editable_mode=compat --editable . --requirement requirements-dev.txt && \
	export PYTHONDEVMODE=1 && set -- ".venv-$*/bin/python" -m pytest -q -o cache_dir=.pytest_cache/$* \
		--hypothesis-profile=brief -m "not lab and not browser and not slow" && \
	{ "$$@" || { [ $$? = 1 ] && "$$@" --last-failed; }; }

# make bench writes BENCHMARKS.md, PEERS=1 with the other looking glasses that it finds (see tests/bench/peers.py);
# make bench BENCH=page,run,guard,busy,live,idle,leave,browser JSON=FILE measures some of it and writes no page.
# BENCH_CORES=0 keeps the servers on one core.
bench: .venv/dev.stamp tools bench-tools
	$(PY) -m tests.bench $(BENCH) $(if $(BENCH),,--write BENCHMARKS.md) $(PEERS:1=--peers) $(JSON:%=--json %)

# make soak SECONDS=60: 200 clients that ask as badly as they can, and what is left afterwards;
# then OPERATIONS=10000 over several processes that are killed, whose limits have to hold
soak: .venv/dev.stamp test-tools
	$(PY) -m tests.soak $(SECONDS:%=--seconds %)
	$(PY) -m tests.soak.shared $(OPERATIONS:%=--operations %)

# make fuzz EXAMPLES=1000: every property of the tests, with many more examples than in make test
fuzz: .venv/dev.stamp test-tools
	$(PY) -m tests.fuzz $(EXAMPLES)

# make prices MINUTES=3: what attacks take from others, as SECURITY.md tells it
prices: .venv/dev.stamp
	$(PY) -m tests.prices $(MINUTES)

# Write the lists of keys into docs/configuration.md.
docs: .venv/run.stamp
	$(PY) -m docs.reference

# One file with its dependencies; legacy-cgi is named, for a marker is judged by the Python that builds.
pyz: .venv/bin/python
	rm -rf "$(BUILD)/pyz"
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --target "$(BUILD)/pyz" \
		'WebOb>=1.8.11' 'waitress>=3.0.2' 'legacy-cgi>=2.6'
	cd "$(BUILD)/pyz" && rm -rf bin cgitb.py $(UNUSED)
	find "$(BUILD)/pyz" -path '*.dist-info/*' -type f ! -iname '*licen[cs]e*' -delete
	cp $(MODULES:%=%.py) LICENSE "$(BUILD)/pyz"
	cp -rL lookingglass "$(BUILD)/pyz/lookingglass"
	cp -r html "$(BUILD)/pyz/lookingglass/html"
	cp -r examples/routers "$(BUILD)/pyz/lookingglass/routers"
	rm "$(BUILD)/pyz/lookingglass/routers/README.md"
	find "$(BUILD)/pyz" -name __pycache__ -prune -exec rm -r {} +
	printf '%s\n' 'import sys' '' 'if sys.version_info < (3, 11):' \
		'    sys.exit("TinyTracer needs Python 3.11 or later.")' \
		'from tinytracer import main' '' 'sys.exit(main())' > "$(BUILD)/pyz/__main__.py"
	$(PY) examples/pack.py "$(BUILD)/pyz" "$(PYZ)"

wheel: .venv/dev.stamp
	$(PY) -m build --wheel --sdist --outdir dist .

# make lab LAB=--bgp: with BIRD and FRR, which have to be installed
lab: .venv/run.stamp lab-tools
	$(PY) examples/lab/lab.py run $(LAB)

clean:
	rm -rf .venv .venv-* build dist *.egg-info tinytracer.pyz .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache
