# Commands for a machine that has only Python and make: `make serve`, `make test`, and the slower `make verify`,
# `make fuzz` and `make coverage`.

PYTHON ?= python3
PORT ?= 5000
VENV := .venv
PIP = $(VENV)/bin/pip install --disable-pip-version-check
PLATFORM := $(abspath $(or $(SAMPLE_PLATFORM),embedded_platform))
# The requirements of a real platform, where SAMPLE_PLATFORM names one.
REQUIREMENTS := $(if $(SAMPLE_PLATFORM),-r$(PLATFORM)/requirements.txt)
API_V1 := PYTHONPATH=$(PLATFORM) $(VENV)/bin/api-v1

API := http://127.0.0.1:$(PORT)/api/v1
SCOPES := $(addprefix --scope ,runs:read runs:write results:read baselines:write system:read)

.PHONY: serve check-serve test coverage verify fuzz audit pins clean
.NOTPARALLEL:

# A token for each port: the one of a server that runs on another port stays.
serve: check-serve $(VENV)/installed
	@mkdir -p demo
	@$(API_V1) demo seed
	@$(API_V1) db upgrade
	@token=$$($(API_V1) token create admin@example.org make-serve-$(PORT) --replace $(SCOPES) 2>/dev/null) && \
		printf '%s\n' '' 'The API is at $(API); its data is in demo/ (to begin anew stop it and delete that).' \
		'In another terminal, ask whether pull request 1734 is to blame for its red tests:' '' \
		"curl -s -H 'Authorization: Bearer $$token' $(API)/pull-requests/1734" ''
	@PYTHONPATH=$(PLATFORM) $(VENV)/bin/gunicorn --threads 8 --graceful-timeout 5 --bind 127.0.0.1:$(PORT) 'api_v1:create_app()'

# What is wrong is said at once, before anything is installed.
check-serve:
	$(if $(wildcard $(VENV)/installed),,$(check_python))
	$(if $(filter free,$(port_state)),,$(error $(if $(port_state),Port $(PORT) is taken$(comma) perhaps by another \
		make serve. Name a free one,PORT=$(PORT) is no port that may be listened on. Name one), such as PORT=5001))

test: $(VENV)/bin/tox
	PLATFORM_REQUIREMENTS="$(REQUIREMENTS)" $(VENV)/bin/tox

coverage: $(VENV)/bin/tox
	PLATFORM_REQUIREMENTS="$(REQUIREMENTS)" $(VENV)/bin/tox run -e coverage

# pyenv hides the versions of Python that are not chosen; all that are installed are wanted here.
verify: $(VENV)/bin/tox
	PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | sort -rV | paste -sd:) PLATFORM_REQUIREMENTS="$(REQUIREMENTS)" \
		$(VENV)/bin/tox run -e verify,thorough,py313,lowest --skip-missing-interpreters true

fuzz: $(VENV)/bin/tox
	PLATFORM_REQUIREMENTS="$(REQUIREMENTS)" $(VENV)/bin/tox run -e fuzz

# What PYTHON is: "fit", or its version, or nothing where it does not run or has no module venv.
python_state = $(shell $(PYTHON) -c 'import ensurepip, sys, venv; \
	print("fit" if sys.version_info >= (3, 10) else sys.version.split()[0])' 2>/dev/null)
unfit = $(if $(1),it is Python $(1),it does not run or lacks its module venv)

check_python = $(if $(filter fit,$(python_state)),,$(error api_v1 needs Python 3.10 or newer, which $(PYTHON) is not: \
	$(call unfit,$(python_state)). Name another one, such as PYTHON=python3.12))

# "free" or "taken"; nothing where PORT is no port, or one that needs more rights.
port_state = $(shell $(or $(and $(wildcard $(VENV)/installed),$(VENV)/bin/python),$(PYTHON)) -c 'import socket, sys; \
	address = ("127.0.0.1", int(sys.argv[1])); probe = socket.socket(); probe.settimeout(1); \
	print("taken" if probe.connect_ex(address) == 0 else socket.create_server(address) and "free")' '$(PORT)' 2>/dev/null)
comma := ,

$(VENV)/installed: setup.cfg demo-requirements.txt | $(VENV)/bin/pip
	@echo 'Installing into $(VENV)/, this once: a minute or so.'
	$(PIP) --require-hashes --requirement demo-requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	$(if $(REQUIREMENTS),$(PIP) $(REQUIREMENTS))
	@touch $@

# All that the tests need tox installs, in environments of their own.
$(VENV)/bin/tox: | $(VENV)/bin/pip
	$(PIP) tox

$(VENV)/bin/pip:
	$(check_python)
	$(PYTHON) -m venv $(VENV)

# The known vulnerabilities of the libraries that the demo is pinned to, and of the newest ones that requirements.txt
# allows; asks the network.
audit: | $(VENV)/bin/pip
	$(PIP) pip-audit
	$(VENV)/bin/pip-audit --disable-pip --requirement demo-requirements.txt
	$(VENV)/bin/pip-audit --requirement requirements.txt

# The newest versions of all libraries that requirements.txt allows; asks the network.
pins: | $(VENV)/bin/pip
	$(PIP) uv
	(head -n 1 demo-requirements.txt; (echo setuptools; cat requirements.txt; echo 'gunicorn>=23') | \
		$(VENV)/bin/uv pip compile - --quiet --universal --python-version 3.10 --generate-hashes --no-header \
		--no-annotate) > $(VENV)/pins
	mv $(VENV)/pins demo-requirements.txt

clean:
	rm -rf $(VENV) .tox demo
