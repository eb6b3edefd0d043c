/* SPDX-License-Identifier: BSD-2-Clause */
/* What pci.c calls of msix.c. A device without MSI-X is left alone. */
#ifndef VMM_MSIX_H
#define VMM_MSIX_H

#include "pci.h"

int msix_open(struct pci_device *device);
void msix_close(struct pci_device *device);
void msix_reset(struct pci_device *device);
void msix_config_written(struct pci_device *device);

#endif
