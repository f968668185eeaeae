#!/bin/bash
# The stage 'pretrain' as a Slurm job: 4 nodes with 8 processes each.
# `python -m launch pretrain … --on slurm` writes and submits this script; with --dry-run it only prints it.
#SBATCH --job-name=soundsight-pretrain
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --partition=gpu
#SBATCH --account=music
#SBATCH --qos=long
#SBATCH --time=2-00:00:00
#SBATCH --mem=400G
#SBATCH --cpus-per-task=12
#SBATCH --gpus-per-node=8
#SBATCH --requeue
#SBATCH --signal=TERM@300
#SBATCH --open-mode=append
#SBATCH --output="/shared/you/logs/%x-%j.log"
#SBATCH --constraint=h100
#SBATCH --exclusive

cd -- /shared/you || exit 1
export PYTHONPATH=/shared/soundsight"${PYTHONPATH:+:$PYTHONPATH}"
export OMP_NUM_THREADS=12 TORCH_CPP_LOG_LEVEL=ERROR
export GLOO_SOCKET_IFNAME=ib0 NCCL_SOCKET_IFNAME=ib0
# The ranks meet on the first node, at a port that this job's neighbours in the queue do not have.
MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
MASTER_PORT=29400
export MASTER_ADDR MASTER_PORT

module load cuda/12.8

# Slurm asks the ranks themselves to stop. This shell outlives that, to see how they ended.
trap '' TERM

running() { [ "$(squeue --noheader --job "$SLURM_JOB_ID" --format %T)" = RUNNING ]; }
restarts=${SLURM_RESTART_COUNT:-0}
deaths=0
while true; do
  export LAUNCH_RESTARTS=$((restarts + deaths))
  # No --kill-on-bad-exit: ranks end by themselves when one is lost, and say why; srun would kill them before they can.
  srun --cpus-per-task=12 --gpu-bind=none --wait=120 --kill-on-bad-exit=0 /shared/soundsight/.venv/bin/python -m launch pretrain pretrain/configs/base.toml --shards data/shards --out runs/pretrained
  code=$?
  case $code in
    0 | 2 | 130 | 143) exit $code ;; # at the end; refused; interrupted or asked twice, where nothing is to be done
  esac
  running || exit $code # cancelled, or queued again by Slurm itself
  if [ $code -eq 75 ]; then
    # The ranks were asked to stop, before the time limit or by a signal, and have written a checkpoint.
    if [ "$restarts" -lt 100 ]; then
      echo "Stopped as asked: the job is queued again, for the $((restarts + 1)). of at most 100 times." >&2
      scontrol requeue "$SLURM_JOB_ID" && sleep 600
    fi
    echo "Stopped as asked: submit the same command to go on." >&2
    exit $code
  fi
  deaths=$((deaths + 1))
  [ $deaths -le 3 ] || exit $code
  echo "Ranks died (exit code $code): starting again in this job, restart $deaths of at most 3." >&2
done
