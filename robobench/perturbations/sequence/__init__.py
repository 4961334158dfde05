"""The sequences of ImageNet-P and CIFAR-10-P: what changes little by little, frame by frame."""
