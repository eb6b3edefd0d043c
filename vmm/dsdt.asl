// SPDX-License-Identifier: BSD-2-Clause
// What of the chassis a guest cannot find by itself: the PCI bus, where its interrupts go, the ISA devices, how to be off.
DefinitionBlock ("", "DSDT", 2, "VDISK", "HV", 1)
{
    Name (\_S5, Package () { 0, 0, 0, 0 }) // SLP_TYP 0 of both PM1 controls

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0xff, 0, 0x100)
                IO (Decode16, 0xcf8, 0xcf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0, 0xcf7, 0, 0xcf8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0xd00, 0xffff, 0, 0xf300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xa0000, 0xbffff, 0, 0x20000)
                // The window for memory BARs: acpi.c finds these numbers and writes where it begins.
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0x80000000, 0xfebfffff, 0, 0x7ec00000)
            })

            // INTA# of each slot, as pci.c says it.
            Name (_PRT, Package ()
            {
                Package () { 0x01ffff, 0, 0, 10 }, Package () { 0x02ffff, 0, 0, 10 }, Package () { 0x03ffff, 0, 0, 11 },
                Package () { 0x04ffff, 0, 0, 11 }, Package () { 0x05ffff, 0, 0, 10 }, Package () { 0x06ffff, 0, 0, 10 },
                Package () { 0x07ffff, 0, 0, 11 }, Package () { 0x08ffff, 0, 0, 11 }, Package () { 0x09ffff, 0, 0, 10 },
                Package () { 0x0affff, 0, 0, 10 }, Package () { 0x0bffff, 0, 0, 11 }, Package () { 0x0cffff, 0, 0, 11 },
                Package () { 0x0dffff, 0, 0, 10 }, Package () { 0x0effff, 0, 0, 10 }, Package () { 0x0fffff, 0, 0, 11 },
                Package () { 0x10ffff, 0, 0, 11 }, Package () { 0x11ffff, 0, 0, 10 }, Package () { 0x12ffff, 0, 0, 10 },
                Package () { 0x13ffff, 0, 0, 11 }, Package () { 0x14ffff, 0, 0, 11 }, Package () { 0x15ffff, 0, 0, 10 },
                Package () { 0x16ffff, 0, 0, 10 }, Package () { 0x17ffff, 0, 0, 11 }, Package () { 0x18ffff, 0, 0, 11 },
                Package () { 0x19ffff, 0, 0, 10 }, Package () { 0x1affff, 0, 0, 10 }, Package () { 0x1bffff, 0, 0, 11 },
                Package () { 0x1cffff, 0, 0, 11 }, Package () { 0x1dffff, 0, 0, 10 }, Package () { 0x1effff, 0, 0, 10 },
                Package () { 0x1fffff, 0, 0, 11 }
            })

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x3f8, 0x3f8, 1, 8) IRQNoFlags () { 4 } })
                }
                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x70, 0x70, 1, 2) IRQNoFlags () { 8 } })
                }
                Device (PNIC)
                {
                    Name (_HID, "QEMU0001")
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x505, 0x505, 1, 1) })
                }
            }
        }
    }
}
