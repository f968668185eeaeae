#!/bin/bash
# The stage '@{stage}' as a Slurm job: @{size}.
# `python -m launch @{stage} … --on slurm` writes and submits this script; with --dry-run it only prints it.
@{options}

cd -- @{folder} || exit 1
export PYTHONPATH=@{house}"${PYTHONPATH:+:$PYTHONPATH}"
@{variables}
@{setup}
# Slurm asks the ranks themselves to stop. This shell outlives that, to see how they ended.
trap '' TERM

running() { [ "$(squeue --noheader --job "$SLURM_JOB_ID" --format %T)" = RUNNING ]; }
restarts=${SLURM_RESTART_COUNT:-0}
deaths=0
while true; do
  export LAUNCH_RESTARTS=$((restarts + deaths))
  # No --kill-on-bad-exit: ranks end by themselves when one is lost, and say why; srun would kill them before they can.
  srun @{step} @{command}
  code=$?
  case $code in
    0 | 2 | 130 | 143) exit $code ;; # at the end; refused; interrupted or asked twice, where nothing is to be done
  esac
  running || exit $code # cancelled, or queued again by Slurm itself
  if [ $code -eq 75 ]; then
    # The ranks were asked to stop, before the time limit or by a signal, and have written a checkpoint.
    if [ "$restarts" -lt @{requeues} ]; then
      echo "Stopped as asked: the job is queued again, for the $((restarts + 1)). of at most @{requeues} times." >&2
      scontrol requeue "$SLURM_JOB_ID" && sleep 600
    fi
    echo "Stopped as asked: submit the same command to go on." >&2
    exit $code
  fi
  deaths=$((deaths + 1))
  [ $deaths -le @{max_restarts} ] || exit $code
  echo "Ranks died (exit code $code): starting again in this job, restart $deaths of at most @{max_restarts}." >&2
done
