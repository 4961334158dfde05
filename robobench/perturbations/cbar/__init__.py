"""The corruptions of ImageNet-C-bar and CIFAR-10-C-bar (Mintun et al., NeurIPS 2021), a file per idea."""
