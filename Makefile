# scale-video: every target sets up what it needs. Variables: DATASET DATA TABLE STORE BACKBONE VIEWS PRESET SPLIT SEEDS
# WORKERS SCHEDULER RETRY, and ARGS for any other option of the command behind a target.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

DATASET ?= demo
SPLIT ?= 1
SEEDS ?= 1
# One after the other; all: the three of ucf101 and hmdb51.
comma := ,
SPLITS = $(if $(filter all,$(SPLIT)),1 2 3,$(subst $(comma), ,$(SPLIT)))

# --option "value" when the variable is set; the quotes keep spaces, and ~ is expanded by the command.
given = $(if $(2),--$(1) "$(2)")
EXPERIMENT = --dataset "$(DATASET)" --seeds "$(SEEDS)" $(call given,store,$(STORE)) \
	$(call given,backbone,$(BACKBONE)) $(call given,preset,$(PRESET))
EXTRACTION = --dataset "$(DATASET)" $(call given,data,$(DATA)) $(call given,store,$(STORE)) \
	$(call given,backbone,$(BACKBONE)) $(call given,views,$(VIEWS)) $(call given,preset,$(PRESET)) \
	$(call given,split-lists,$(SPLIT_LISTS)) $(call given,table,$(TABLE)) $(call given,workers,$(WORKERS)) \
	$(call given,scheduler,$(SCHEDULER)) $(ARGS)
MINUTES ?= 20
TEST_PROCESSES ?= 2

.PHONY: help setup demo ablations plan extract pretrain evaluate knn linear nonlinear retrieval report verify info failures explore motion3d motion3d-ssl \
	format format-check lint types imports docs test torture bench check clean

help: ## list the targets
	@grep -E '^[a-z0-9 -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9 -]+):.*## (.*)/  make \1\t\2/' | expand -t 30
	@sed -n '1,2s/^# /  /p' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## make .venv with everything that the demo and the tests need

# torch first and by itself: a later step must find it installed, or it would fetch another build.
$(READY): setup.cfg pyproject.toml constraints.txt
	@echo "setting up $(VENV): 3 GB, some minutes; this is done once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

demo: $(READY) ## render, extract, pre-train and evaluate the embedded data set (SEEDS=3 adds two controls)
	@$(BIN)/scale-video demo --seeds "$(SEEDS)" $(call given,backbone,$(BACKBONE)) $(call given,workers,$(WORKERS)) $(ARGS)

ablations: SEEDS = 3
ablations: $(READY) ## take the method apart on the demo: losses, sets, masks, positions, clips at test, claims, transfer
	@$(BIN)/scale-video ablations --seeds "$(SEEDS)" $(call given,backbone,$(BACKBONE)) $(call given,workers,$(WORKERS)) $(ARGS)

plan: $(READY) ## look at the videos of DATASET in DATA and create the store
	@$(BIN)/scale-video plan $(EXTRACTION)

extract: $(READY) ## stage 1: clip features of DATASET in DATA into STORE (RETRY=timeout,crashed does those again)
	@$(BIN)/scale-video extract $(EXTRACTION) $(call given,retry,$(RETRY))

pretrain: $(READY) ## stage 2: train the aggregator on the training videos of SPLIT (VIEWS=random,augmented: a set of each)
	@for split in $(SPLITS); do \
		$(BIN)/scale-video pretrain $(EXPERIMENT) --split "$$split" $(call given,views,$(VIEWS)) $(ARGS) || exit; done

# ARGS come last, so that what they say holds.
evaluate knn linear nonlinear retrieval: $(READY) ## evaluate features by several protocols, or by one (SPLIT=all: and their mean)
	@for split in $(SPLITS); do $(BIN)/scale-video $@ $(EXPERIMENT) --split "$$split" $(ARGS) || exit; done
	@$(if $(word 2,$(SPLITS)),$(BIN)/scale-video table "runs/$(DATASET)")

report: $(READY) ## write a page about all of it, runs/DATASET/report.html (DATA= for frames of the videos)
	@for split in $(SPLITS); do $(BIN)/scale-video report --dataset "$(DATASET)" --split "$$split" $(call given,data,$(DATA)) \
		$(call given,store,$(STORE)) $(call given,backbone,$(BACKBONE)) $(call given,preset,$(PRESET)) $(ARGS) || exit; done

verify info failures: $(READY) ## check or describe the store of DATASET, or list what failed
	@$(BIN)/scale-video $@ "$(or $(STORE),features/$(DATASET).zarr)" $(ARGS)

# With the first aggregator of SPLIT that is there; BACKBONE= or CHECKPOINT= name another.
explore: $(READY) ## look at the store of DATASET in a browser
	@$(BIN)/scale-video explore "$(or $(STORE),features/$(DATASET).zarr)" $(call given,data,$(DATA)) \
		$(call given,checkpoint,$(or $(CHECKPOINT),$(firstword $(wildcard runs/$(DATASET)/$(or $(BACKBONE),*)/split$(SPLIT)/seed0/last.ckpt)))) $(ARGS)

motion3d: $(READY) ## train the shipped backbone anew, in place
	$(BIN)/python -m scale_video.extract.backbones.train_motion3d --output extract/backbones/motion3d.safetensors

motion3d-ssl: $(READY) ## train the one without labels anew, in place
	$(BIN)/python -m scale_video.extract.backbones.train_motion3d_ssl --output extract/backbones/motion3d-ssl.safetensors

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

format-check: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy -p scale_video
	$(BIN)/mypy benchmarks

imports: $(READY)
	$(BIN)/lint-imports

docs: $(READY) ## build the documentation as a site, build/docs/index.html (warnings are errors)
	$(BIN)/sphinx-build --quiet --fail-on-warning --write-all -d build/doctrees docs build/docs

# Many tests wait: for processes that start, and for time limits. Two files at a time suit two cores; in the order of
# tests/conftest.py, not the fewest tests last, which are the longest.
test: $(READY) ## run the tests (TEST_PROCESSES=0: one after the other, as a debugger needs them)
	$(BIN)/python -m pytest --numprocesses "$(TEST_PROCESSES)" --dist loadfile --no-loadscope-reorder $(ARGS)

torture: $(READY) ## kill workers, decoders and clients for MINUTES, and fuzz at length
	SCALE_VIDEO_TORTURE="$(MINUTES)" $(BIN)/python -m pytest -s tests/pipelines/test_torture.py tests/extract/test_fuzz.py $(ARGS)

bench: $(READY) ## run the benchmarks, with the peers of the extra [bench]
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	@for script in benchmarks/bench_*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$script || exit 1; done

check: format-check lint types imports docs test ## all that CI runs

clean: ## remove caches, not data
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
