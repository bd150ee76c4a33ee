"""What the chapters of the course share; everything that is taught stands in the notebooks.

A map, in the order in which data flow through a chapter:

=================  ==========================================================================
``runtime``        one seed for everything, the device, a description of the machine
``datasets``       ``load(name)`` → train, valid and test digits as uint8 tensors
``pictures``       pictures of one's own, from a file or a folder, as a data set
``street_digits``  house-number crops drawn from known causes, which are returned as well
``synthetic``      2-D toy distributions whose density is known
``batches``        seeded, shuffled batches of resident tensors, as float in [0, 1]
``fit``            ``fit`` and ``evaluate``: the training loop
``capture``        a training step recorded once on a CUDA device and replayed
``checkpoint``     weights, history and random states in a file; reading one runs no code
``densities``      log-probabilities, KL divergences, the importance-weighted bound, in nats
``metrics``        numbers that judge a model or a set: errors, PSNR, SSIM, probes, dimension
``samples``        numbers for two sets: Parzen windows, MMD, Fréchet, precision and recall
``judge``          a classifier that says how sure it is of what a model draws
``plots``          figures from arrays; the colours of the course
``diagrams``       boxes, networks and arrows: the drawings of models
``widgets``        interactive figures, each with a static twin
``progress``       one line that shows how far a loop is
``results``        headline numbers, their expected bands, stored results of full runs
``checks``         exercise checks that name the misconception behind a wrong answer
``tools``          what runs the course (command ``course``); no notebook imports it
=================  ==========================================================================

Nothing is imported here, so ``import course_utils`` costs nothing; write
``from course_utils import datasets`` or ``from course_utils.fit import fit``.
"""

__version__ = "0.2.0"
