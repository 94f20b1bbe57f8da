# Commands for a machine that has only Python and make: `make serve`, `make test`, and the slower `make verify`,
# `make fuzz` and `make coverage`.

PYTHON ?= python3
PORT ?= 5000
VENV := .venv
PLATFORM := $(abspath $(or $(SAMPLE_PLATFORM),embedded_platform))
# The requirements of a real platform, where SAMPLE_PLATFORM names one.
REQUIREMENTS := $(if $(SAMPLE_PLATFORM),-r$(PLATFORM)/requirements.txt)
FLASK := PYTHONPATH=$(PLATFORM) $(VENV)/bin/flask --app api_v1 api-v1

.PHONY: serve test coverage verify fuzz clean

serve: $(VENV)/installed
	@mkdir -p demo
	@$(FLASK) demo seed
	@$(FLASK) db upgrade
	@echo
	@echo "The API is at http://127.0.0.1:$(PORT)/api/v1 (health: /system/health, document: /openapi.json). Try:"
	@echo
	@token=$$($(FLASK) token create admin@example.org make-serve --replace --scope runs:read --scope runs:write \
		--scope results:read --scope baselines:write --scope system:read 2>/dev/null) && \
		echo "curl -s -H 'Authorization: Bearer $$token' 'http://127.0.0.1:$(PORT)/api/v1/runs?status=fail&limit=3'"
	@echo
	@PYTHONPATH=$(PLATFORM) $(VENV)/bin/gunicorn --threads 8 --bind 127.0.0.1:$(PORT) 'api_v1:create_app()'

test: $(VENV)/installed
	PLATFORM_REQUIREMENTS="$(REQUIREMENTS)" $(VENV)/bin/tox

coverage: $(VENV)/installed
	PLATFORM_REQUIREMENTS="$(REQUIREMENTS)" $(VENV)/bin/tox run -e coverage

# pyenv hides the versions of Python that are not chosen; all that are installed are wanted here.
verify: $(VENV)/installed
	PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | sort -rV | paste -sd:) PLATFORM_REQUIREMENTS="$(REQUIREMENTS)" \
		$(VENV)/bin/tox run -e verify,py312,py313,lowest --skip-missing-interpreters true

fuzz: $(VENV)/installed
	PLATFORM_REQUIREMENTS="$(REQUIREMENTS)" $(VENV)/bin/tox run -e fuzz

# What PYTHON is: "fit", or its version, or nothing where it does not run or has no module venv.
python_state = $(shell $(PYTHON) -c 'import ensurepip, sys, venv; \
	print("fit" if sys.version_info >= (3, 10) else sys.version.split()[0])' 2>/dev/null)
unfit = $(if $(1),it is Python $(1),it does not run or lacks its module venv)

$(VENV)/installed: setup.cfg requirements.txt
	$(if $(filter fit,$(python_state)),,$(error api_v1 needs Python 3.10 or newer, which $(PYTHON) is not: $(call \
		unfit,$(python_state)). Name another one, such as PYTHON=python3.12))
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[server]' tox $(REQUIREMENTS)
	touch $@

clean:
	rm -rf $(VENV) .tox demo
