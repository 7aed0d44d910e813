"""MPI-INF-3DHP in the layouts it is found in: `raw`, `mmpose` and `pstmo`."""
