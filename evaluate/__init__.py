"""What a representation is worth: k-NN, linear and nonlinear probes, with intervals. Arrays in, results out."""
