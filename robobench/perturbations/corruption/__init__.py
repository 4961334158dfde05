"""The 19 corruptions of ImageNet-C (Hendrycks and Dietterich, ICLR 2019), one file per group."""
