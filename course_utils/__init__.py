"""What the chapters of the course share; everything that is taught stands in the notebooks.

A map, in the order in which data flow through a chapter:

=================  ==========================================================================
``runtime``        one seed for everything, the device, a description of the machine
``datasets``       ``load(name)`` → train, valid and test digits as uint8 tensors
``street_digits``  house-number crops drawn from known causes, which are returned as well
``synthetic``      2-D toy distributions whose density is known
``batches``        seeded, shuffled batches of resident tensors, as float in [0, 1]
``densities``      log-probabilities, KL divergences, the importance-weighted bound, in nats
``fit``            ``fit`` and ``evaluate``: the training loop and its checkpoints
``metrics``        numbers that judge a model: errors, PSNR, SSIM, probes, intrinsic dimension
``plots``          figures from arrays; the colours of the course
``widgets``        interactive figures, each with a static twin
``checks``         exercise checks that name the misconception behind a wrong answer
``results``        headline numbers, their expected bands, stored results of full runs
``tools``          what runs the course (command ``course``); no notebook imports it
=================  ==========================================================================

Nothing is imported here, so ``import course_utils`` costs nothing; write
``from course_utils import datasets`` or ``from course_utils.fit import fit``.
"""

__version__ = "0.1.0"
