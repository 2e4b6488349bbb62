"""Run the matrix on a Slurm cluster: `python slurm.py --jobs 8 -- --releases all ...`.

Needs te-matrix with its extra `dask`, and dask-jobqueue, in an environment that all nodes see,
like the folder or URL of --store. Every Slurm job is one Dask worker with one GPU; what follows
`--` goes to `te-matrix run`. For the cpu lane leave out --gpu.
"""

import argparse
import subprocess
import sys

from dask_jobqueue import SLURMCluster


def cluster(options: argparse.Namespace) -> SLURMCluster:
    """Describe one job: a worker that offers what saves and loads ask for."""
    return SLURMCluster(
        queue=options.partition,
        account=options.account,
        cores=1,
        processes=1,
        memory=options.memory,
        walltime=options.walltime,
        job_extra_directives=["--gpus=1"] if options.gpu else [],
        worker_extra_args=["--resources", "GPU=1"] if options.gpu else [],
    )


def main() -> None:
    """Start the jobs, run, and end them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--partition")
    parser.add_argument("--account")
    parser.add_argument("--memory", default="16GB")
    parser.add_argument("--walltime", default="04:00:00")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--show", action="store_true", help="print the job script and leave")
    parser.add_argument("run", nargs="*", help="options of `te-matrix run`")
    options = parser.parse_args()
    with cluster(options) as made:
        if options.show:
            print(made.job_script())
            return
        made.scale(jobs=options.jobs)
        command = [sys.executable, "-m", "matrix", "run", *options.run]
        command += ["--scheduler", made.scheduler_address]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
