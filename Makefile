# make run: trace. make test: prove that it works. Both set up what they need first.
PYTHON := .venv/bin/python
CODE := dashboards forktrace tests
# Some unit tests wait for browsers and servers: three keep two processors busy.
WORKERS := 3
# Of each fuzzing target in make test; it has some minutes of a processor to spare.
FUZZ_SECONDS := 60
# Of the decisions for each compiler one in so many in make test: two minutes at most.
COMPILERS_SHARE := 60

.PHONY: run test check live test-matrix bench faults soak stack pictures fuzz fuzz-short compilers compilers-short fleet deb deb-try setup format clean help

run: .venv/ready-run  ## trace this host, or a real Debian kernel in a throw-away virtual machine
	@$(PYTHON) -m tests.demo

test: check  ## everything: style, types, unit tests, real kernels, some fuzzing, compilers
	@$(MAKE) --no-print-directory -j 2 live fuzz-short compilers-short

# Else the workers, and all that tests start, would compile the same modules each time.
check: export PYTHONDONTWRITEBYTECODE :=
check: .venv/ready-test  ## format, lint, types, unit tests: under a minute
	@$(PYTHON) -m ruff format --check --quiet $(CODE)
	@$(PYTHON) -m ruff check --quiet $(CODE)
	@$(PYTHON) -m mypy --no-error-summary
	@$(PYTHON) -m pytest tests/unit -n $(WORKERS) --dist loadgroup

live: .venv/ready-test  ## tests on real kernels, each booted in a virtual machine
	@$(PYTHON) -m pytest tests/live --ignore tests/live/guest -n 2 --dist loadgroup \
		--no-loadscope-reorder -v

test-matrix: check  ## the same on every kernel there is; prints the README's table
	@FORKTRACE_KERNELS=all $(PYTHON) -m pytest tests/live/test_kernels.py -n 2 -v
	@$(PYTHON) -m tests.live.matrix

bench: .venv/ready-test  ## what tracing costs, held against the budgets and other tools
	@$(PYTHON) -m tests.bench

faults: .venv/ready-test  ## what goes wrong on a host, done on purpose: promised, seen, held
	@$(PYTHON) -m tests.faults

soak: .venv/ready-test  ## half an hour of everything at once: memory, losses, kernel's log
	@$(PYTHON) -m tests.soak

stack: .venv/ready-test  ## forktrace on a real kernel, scraped by a real Prometheus, to try
	@$(PYTHON) -m tests.stack

pictures: .venv/ready-pictures  ## each dashboard as Grafana shows it: dashboards/*.png
	@$(PYTHON) -m tests.stack.picture

fuzz: .venv/ready-test  ## every parser of input from outside: a million inputs or half an hour each
	@nice -n 10 $(PYTHON) -m tests.fuzz

fuzz-short: .venv/ready-test  ## for a minute each the same inputs: what fails is new in the code
	@nice -n 10 $(PYTHON) -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed 1

compilers: .venv/ready-test  ## what each compiler makes of a thousand decisions: right or refused
	@nice -n 10 $(PYTHON) -m tests.compilers

compilers-short: .venv/ready-test  ## of them one in so many, always the same ones
	@nice -n 10 $(PYTHON) -m pytest tests/compilers -q
	@nice -n 10 $(PYTHON) -m tests.compilers --share $(COMPILERS_SHARE)

fleet: .venv/ready-test  ## what many hosts cost a Prometheus: measured, and extrapolated
	@$(PYTHON) -m tests.fleet

deb: .venv/ready-deb  ## Debian packages, for Debian 13 and for Debian 12, in dist/
	@packaging/deb.sh

deb-try: .venv/ready-test deb  ## install, upgrade and purge them in fresh roots of both releases
	@tests/packages/try.sh

format: .venv/ready-test  ## put the code in its one form
	@$(PYTHON) -m ruff format $(CODE)
	@$(PYTHON) -m ruff check --fix $(CODE)

setup: .venv/ready-test  ## only set up what the others do

.venv/ready-run .venv/ready-test .venv/ready-pictures .venv/ready-deb: pyproject.toml packaging/setup.sh
	@packaging/setup.sh $(@:.venv/ready-%=%)

clean:  ## remove what the targets above made; downloads too
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache dist build
	@find . -name __pycache__ -prune -exec rm -rf {} +

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10
