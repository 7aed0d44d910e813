"""Human3.6M in the layouts it is found in: `mmpose`, `raw`, `toolbox` and `videopose3d`."""
