#!/bin/bash
# The stage 'export' as a Slurm job: 1 node with 1 process.
# `python -m launch export … --on slurm` writes and submits this script; with --dry-run it only prints it.
#SBATCH --job-name=embeddings
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --no-requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
#SBATCH --output="/shared/you/logs/%x-%j.log"

cd -- /shared/you || exit 1
export PYTHONPATH=/shared/soundsight"${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS=1 TORCH_CPP_LOG_LEVEL=ERROR
export CUDA_VISIBLE_DEVICES= DS_ACCELERATOR=cpu
export GLOO_SOCKET_IFNAME=lo NCCL_SOCKET_IFNAME=lo
# The ranks meet on the first node, at a port that this job's neighbours in the queue do not have.
MASTER_ADDR=127.0.0.1
MASTER_PORT=$((20000 + SLURM_JOB_ID % 12000))
export MASTER_ADDR MASTER_PORT

# Slurm asks the ranks themselves to stop. This shell outlives that, to see how they ended.
trap '' TERM

running() { [ "$(squeue --noheader --job "$SLURM_JOB_ID" --format %T)" = RUNNING ]; }
restarts=${SLURM_RESTART_COUNT:-0}
deaths=0
while true; do
  export LAUNCH_RESTARTS=$((restarts + deaths))
  # No --kill-on-bad-exit: ranks end by themselves when one is lost, and say why; srun would kill them before they can.
  srun --wait=120 --kill-on-bad-exit=0 /shared/soundsight/.venv/bin/python -m launch export --shards data/shards
  code=$?
  case $code in
    0 | 2 | 130 | 143) exit $code ;; # at the end; refused; interrupted or asked twice, where nothing is to be done
  esac
  running || exit $code # cancelled, or queued again by Slurm itself
  if [ $code -eq 75 ]; then
    # The ranks were asked to stop, before the time limit or by a signal, and have written a checkpoint.
    if [ "$restarts" -lt 0 ]; then
      echo "Stopped as asked: the job is queued again, for the $((restarts + 1)). of at most 0 times." >&2
      scontrol requeue "$SLURM_JOB_ID" && sleep 600
    fi
    echo "Stopped as asked: submit the same command to go on." >&2
    exit $code
  fi
  deaths=$((deaths + 1))
  [ $deaths -le 0 ] || exit $code
  echo "Ranks died (exit code $code): starting again in this job, restart $deaths of at most 0." >&2
done
