"""How the processes of a stage come to be: here, on the hosts of a file, in a Slurm job, in a Kubernetes one."""
