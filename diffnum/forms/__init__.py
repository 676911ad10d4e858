r"""Semilinear forms: the probability-flow ODE after its linear part has been removed, as data.

A form is a choice of scale, clock and prediction such that ``z = x / scale`` obeys
``dz/dclock = (gain/scale) * M`` with ``M`` the prediction. One step from node 0 to node 1 of length
``h`` (in the clock) is then, exactly,

.. math:: x(\chi_1) = \frac{\mathrm{scale}_1}{\mathrm{scale}_0} x(\chi_0)
          + \mathrm{gain}_1 \int_0^1 h\, e^{\kappa h (1 - s)} M(\chi_0 + s h)\, ds ,

with the growth rate kappa of the kernel: -1 for data, +1 for noise, 0 where the clock itself is the integrating
variable. Everything that a solver must know about the process is in ``scale``, ``gain`` and the kernel's moments.

====================  =============  ==================  =============  =====
form                  scale          clock               gain           kappa
====================  =============  ==================  =============  =====
``DATA``              sigma          log(alpha/sigma)    alpha          -1
``NOISE``             alpha          log(alpha/sigma)    -sigma         +1
``RHO``               alpha          sigma/alpha         alpha          0
``VELOCITY``          alpha + sigma  sigma/(alpha+sigma) alpha + sigma  0
``TIME``              alpha          t                   alpha          (a)
====================  =============  ==================  =============  =====

(a) the kernel of the time clock is d(sigma/alpha)/dt, whose moments depend on the schedule.

Three things make further forms of these: :func:`time_form` takes the clock from another schedule, :func:`riemann`
replaces exact moments by the sums that some codes compute, and :data:`DRIFT` leaves the linear part in the equation.
"""

from diffnum.forms.frame import Frame, Stages
from diffnum.forms.kernels import ExponentialKernel, Kernel, Nodes, Quadrature, TabulatedKernel, time_kernel
from diffnum.forms.predictions import PREDICTIONS, conversion, predict
from diffnum.forms.semilinear import (
    DATA,
    DRIFT,
    FORMS,
    NOISE,
    RHO,
    TIME,
    VELOCITY,
    SemilinearForm,
    drift_form,
    form,
    riemann,
    time_form,
)

__all__ = [
    "DATA",
    "DRIFT",
    "FORMS",
    "NOISE",
    "PREDICTIONS",
    "RHO",
    "TIME",
    "VELOCITY",
    "ExponentialKernel",
    "Frame",
    "Kernel",
    "Nodes",
    "Quadrature",
    "SemilinearForm",
    "Stages",
    "TabulatedKernel",
    "conversion",
    "drift_form",
    "form",
    "predict",
    "riemann",
    "time_form",
    "time_kernel",
]
