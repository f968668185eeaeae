# make demo        the whole chain on a planted corpus: minutes on two cores, no GPU
# make demo-full   the same at full size: hours on two cores
# make demo-video  from video files to a page to look at: films clips, extracts, trains, parses; minutes on two cores
# make test        every test, in two processes that share the files
# make check       ruff, mypy, import-linter
# make bench-shards  videos a second read from shards, beside stock WebDataset; the last line is JSON
# make soak-shards   twenty kills of readers, each resumed on another number of ranks; the last line is JSON
# make bench-graph   both forests of 290,000 snippets beside plain products, faiss, brute force; the last line is JSON
# make study-graph   what each way of making positives does to a planted corpus whose truth is known
# make bench-loss     the loss over all pairs beside the dense one: memory and time; the last line is JSON
# make bench-pretrain videos a second, shares of waiting and of the loss, for the debug and base configs; likewise
# make soak-pretrain  a run killed twenty times, compared with one that never was; the last line is JSON
# make study-pretrain what pre-training on 29,000 planted videos learns, over modes, scopes and seeds (an hour and more)
# make bench-parser   HAN trained and scored on two cores, beside a plain DataLoader over .npy files; the last line is JSON
# make ui          the runs in a browser, on 127.0.0.1
# make install     .venv with everything the above need (they call it themselves)
#
# FAISS=cuda12 or FAISS=cuda13 takes the GPU build of faiss instead; TORCH_INDEX=URL takes torch from another index;
# PORT=… moves the UI; RUNS=… names another run root;
# WEIGHTS=… the folder of the published weights of the networks that demo-video runs;
# STUDY=… the folder of a study, which goes on where it was stopped.

PYTHON ?= python3
FAISS ?= $(shell cat .venv/.faiss 2>/dev/null || echo cpu)
PORT ?= 5000
TORCH_INDEX ?=
RUNS ?= runs
STUDY ?= study
BIN := .venv/bin
READY := .venv/.installed-with-faiss-$(FAISS)

.PHONY: install demo demo-full demo-video test check bench-shards soak-shards bench-graph study-graph \
  bench-loss bench-pretrain soak-pretrain study-pretrain bench-parser ui

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	rm -f .venv/.installed-with-faiss-*
	$(BIN)/python -m pip uninstall --quiet --yes faiss-cpu faiss-gpu faiss-gpu-cuvs
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(FAISS),test,check]'
	echo $(FAISS) > .venv/.faiss
	touch $@

demo: $(READY)
	$(BIN)/python -m launch demo

demo-full: $(READY)
	$(BIN)/python -m launch demo --size full

demo-video: $(READY)
	$(BIN)/python -m launch demo_video $(if $(WEIGHTS),--weights $(WEIGHTS))

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-shards: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.bench_shards

soak-shards: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.soak_shards

bench-graph: $(READY)
	$(BIN)/python -m tests.bench.bench_graph

study-graph: $(READY)
	$(BIN)/python -m tests.bench.study_graph

bench-loss: $(READY)
	$(BIN)/python -m tests.bench.bench_loss

bench-pretrain: $(READY)
	$(BIN)/python -m tests.bench.bench_pretrain

soak-pretrain: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.soak_pretrain

study-pretrain: $(READY)
	$(BIN)/python -m tests.bench.study_pretrain --work $(STUDY)

bench-parser: $(READY)
	OMP_NUM_THREADS=2 $(BIN)/python -m tests.bench.bench_parser

ui: $(READY)
	$(BIN)/mlflow ui --backend-store-uri sqlite:///$(RUNS)/mlflow.db --host 127.0.0.1 --port $(PORT)
