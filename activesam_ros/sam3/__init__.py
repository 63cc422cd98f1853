"""The frozen SAM 3 image model: plain torch modules, one file a stage."""
