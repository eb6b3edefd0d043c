/* SPDX-License-Identifier: BSD-2-Clause */
/* Units, targets and nexuses: who has which, and what an initiator still has to be told. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "unit.h"

int scsi_unit_open(struct vdisk_port *port, const struct scsi_unit_options *options, struct scsi_unit **result)
{
    struct scsi_unit *unit = calloc(1, sizeof(*unit));
    const struct vdisk *disk = vdisk_port_disk(port);

    if (!unit)
        return -ENOMEM;
    unit->port = port;
    unit->options = *options;
    if (!unit->options.vendor[0])
        memcpy(unit->options.vendor, "VDISK", sizeof("VDISK"));
    if (!unit->options.product[0])
        memcpy(unit->options.product, "Virtual Disk", sizeof("Virtual Disk"));
    if (!unit->options.revision[0])
        memcpy(unit->options.revision, "1", sizeof("1"));
    unit->block = vdisk_sector_size(disk);
    unit->physical_block = vdisk_physical_sector_size(disk);
    unit->granularity = vdisk_block_size(disk) ? vdisk_block_size(disk) : unit->physical_block;
    unit->thin = strcmp(vdisk_type(disk), "fixed") != 0;
    atomic_store(&unit->blocks, vdisk_port_size(port) / unit->block);
    scsi_unit_reset(unit);
    *result = unit;
    return 0;
}

void scsi_unit_close(struct scsi_unit *unit)
{
    free(unit);
}

void scsi_unit_reset(struct scsi_unit *unit)
{
    atomic_store(&unit->write_cache, true);
    atomic_store(&unit->write_protect, false);
    atomic_store(&unit->stopped, false);
}

/* ---- Attentions ---- */

void scsi_attention_tell(struct scsi_target *target, unsigned lun, uint8_t attention, const struct scsi_nexus *except)
{
    pthread_mutex_lock(&target->lock);
    for (struct scsi_nexus *nexus = target->nexuses; nexus; nexus = nexus->next)
        if (nexus != except)
            atomic_fetch_or(&nexus->attention[lun], attention);
    pthread_mutex_unlock(&target->lock);
}

uint16_t scsi_attention_take(struct scsi_nexus *nexus, unsigned lun)
{
    static const struct {
        uint8_t attention;
        uint16_t code;
    } order[] = {
        {SCSI_ATTENTION_POWER_ON, SCSI_POWER_ON_OCCURRED},
        {SCSI_ATTENTION_RESET, SCSI_RESET_OCCURRED},
        {SCSI_ATTENTION_LUNS, SCSI_LUNS_CHANGED},
        {SCSI_ATTENTION_CAPACITY, SCSI_CAPACITY_CHANGED},
        {SCSI_ATTENTION_MODE, SCSI_MODE_PARAMETERS_CHANGED},
    };

    if (atomic_load_explicit(&nexus->attention[lun], memory_order_relaxed) == 0)
        return 0;
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (atomic_fetch_and(&nexus->attention[lun], (uint8_t)~order[i].attention) & order[i].attention)
            return order[i].code;
    return 0;
}

static void tell_all(struct scsi_target *target, uint8_t attention)
{
    for (unsigned lun = 0; lun < SCSI_LUNS; lun++)
        if (atomic_load(&target->unit[lun]))
            scsi_attention_tell(target, lun, attention, NULL);
}

/* ---- Targets ---- */

void scsi_target_open(struct scsi_target *target)
{
    memset(target, 0, sizeof(*target));
    pthread_mutex_init(&target->lock, NULL);
}

void scsi_target_close(struct scsi_target *target)
{
    assert(!target->nexuses);
    pthread_mutex_destroy(&target->lock);
}

int scsi_target_add(struct scsi_target *target, unsigned lun, struct scsi_unit *unit)
{
    if (lun >= SCSI_LUNS)
        return -ERANGE;
    if (atomic_load(&target->unit[lun]))
        return -EEXIST;
    tell_all(target, SCSI_ATTENTION_LUNS);
    scsi_attention_tell(target, lun, SCSI_ATTENTION_POWER_ON, NULL);
    atomic_store(&target->unit[lun], unit);
    return 0;
}

void scsi_target_remove(struct scsi_target *target, unsigned lun)
{
    assert(lun < SCSI_LUNS);
    atomic_store(&target->unit[lun], NULL);
    tell_all(target, SCSI_ATTENTION_LUNS);
}

void scsi_target_reset(struct scsi_target *target, unsigned lun)
{
    for (unsigned i = 0; i < SCSI_LUNS; i++) {
        struct scsi_unit *unit = lun == SCSI_LUNS || lun == i ? atomic_load(&target->unit[i]) : NULL;

        if (!unit)
            continue;
        scsi_unit_reset(unit);
        scsi_attention_tell(target, i, SCSI_ATTENTION_RESET, NULL);
    }
}

void scsi_target_resized(struct scsi_target *target, unsigned lun)
{
    struct scsi_unit *unit = lun < SCSI_LUNS ? atomic_load(&target->unit[lun]) : NULL;

    if (!unit)
        return;
    atomic_store(&unit->blocks, vdisk_port_size(unit->port) / unit->block);
    scsi_attention_tell(target, lun, SCSI_ATTENTION_CAPACITY, NULL);
}

void scsi_nexus_open(struct scsi_nexus *nexus, struct scsi_target *target)
{
    memset(nexus, 0, sizeof(*nexus));
    nexus->target = target;
    for (unsigned lun = 0; lun < SCSI_LUNS; lun++)
        atomic_store(&nexus->attention[lun], SCSI_ATTENTION_POWER_ON);
    pthread_mutex_lock(&target->lock);
    nexus->next = target->nexuses;
    target->nexuses = nexus;
    pthread_mutex_unlock(&target->lock);
}

void scsi_nexus_close(struct scsi_nexus *nexus)
{
    struct scsi_nexus **link = &nexus->target->nexuses;

    pthread_mutex_lock(&nexus->target->lock);
    while (*link != nexus)
        link = &(*link)->next;
    *link = nexus->next;
    pthread_mutex_unlock(&nexus->target->lock);
}

unsigned scsi_lun_decode(const uint8_t lun[8])
{
    unsigned number = lun[1];

    for (unsigned i = 2; i < 8; i++)
        if (lun[i])
            return SCSI_LUNS;
    if (lun[0] >> 6 == 1) /* flat: 14 bits */
        number |= (lun[0] & 0x3fu) << 8;
    else if (lun[0]) /* peripheral, bus 0 */
        return SCSI_LUNS;
    return number < SCSI_LUNS ? number : SCSI_LUNS;
}
