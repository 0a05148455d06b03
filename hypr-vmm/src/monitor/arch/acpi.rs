//! ACPI tables of a machine without any ACPI hardware ("hardware-reduced", ACPI 6.5 section 4.1): what lets a stock
//! kernel find its processors and virtio devices.

use acpi_tables::{
    Aml, aml,
    fadt::{FADTBuilder, Flags},
    madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic},
    rsdp::Rsdp,
    sdt::Sdt,
    xsdt::XSDT,
};

use super::layout;

const OEM: [u8; 6] = *b"HYPR  ";
const TABLE: [u8; 8] = *b"HYPRVMM ";
const REVISION: u32 = 1;
/// `IAPC_BOOT_ARCH`: no VGA, no message signalled interrupts, no PCIe power management, no real-time clock (ACPI 6.5,
/// table 5.11). No bit says that there is a keyboard controller.
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5;

/// The bytes that belong at [`layout::ACPI`], beginning with the root pointer.
///
/// There is one device node for each of `interrupts`, in the order of their registers.
pub(crate) fn tables(vcpus: u8, interrupts: &[u32]) -> Vec<u8> {
    let dsdt = dsdt(interrupts);
    let root_length = 64;
    let dsdt_at = layout::ACPI + root_length;
    let fadt_at = dsdt_at + length(&dsdt);
    let fadt = fadt(dsdt_at);
    let madt_at = fadt_at + length(&fadt);
    let madt = madt(vcpus);
    let xsdt_at = madt_at + length(&madt);
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    xsdt.add_entry(fadt_at);
    xsdt.add_entry(madt_at);

    let mut bytes = bytes(&Rsdp::new(OEM, xsdt_at));
    bytes.resize(64, 0);
    bytes.extend([dsdt, fadt, madt].concat());
    xsdt.to_aml_bytes(&mut bytes);
    bytes
}

fn dsdt(interrupts: &[u32]) -> Vec<u8> {
    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM, TABLE, REVISION);
    for (number, interrupt) in (0u32..).zip(interrupts) {
        let base = u32::try_from(layout::MMIO).unwrap_or_default() + number * 0x1000;
        let registers = aml::Memory32Fixed::new(true, base, 0x1000);
        let line = aml::Interrupt::new(true, true, false, false, *interrupt);
        // "LNRO0005" is what Linux's virtio_mmio driver binds to.
        let node = bytes(&aml::Device::new(
            aml::Path::new(&format!("_SB_.V{number:03}")),
            vec![
                &aml::Name::new("_HID".into(), &"LNRO0005"),
                &aml::Name::new("_UID".into(), &number),
                &aml::Name::new("_CCA".into(), &aml::ONE),
                &aml::Name::new("_CRS".into(), &aml::ResourceTemplate::new(vec![&registers, &line])),
            ],
        ));
        table.append_slice(&node);
    }
    table.as_slice().to_vec()
}

fn fadt(dsdt: u64) -> Vec<u8> {
    let mut table = FADTBuilder::new(OEM, TABLE, REVISION).dsdt_64(dsdt).flag(Flags::HwReducedAcpi);
    table.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    bytes(&table.finalize())
}

fn madt(vcpus: u8) -> Vec<u8> {
    let mut table = MADT::new(OEM, TABLE, REVISION, LocalInterruptController::Address(layout::LOCAL_APIC));
    for id in 0..vcpus {
        table.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    table.add_structure(IoApic::new(0, layout::IO_APIC, 0));
    bytes(&table)
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn length(table: &[u8]) -> u64 {
    table.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn every_table_adds_up_and_is_where_it_is_said_to_be() {
        for vcpus in [1, 2, 64] {
            let tables = tables(vcpus, &[5, 6, 7]);
            let at = |address: u64| &tables[usize::try_from(address - layout::ACPI).unwrap()..];
            let pointer = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let whole = |bytes: &[u8]| bytes[..u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize].to_vec();
            assert_eq!(&tables[..8], b"RSD PTR ");
            assert_eq!((sum(&tables[..20]), sum(&tables[..36])), (0, 0));
            let xsdt = whole(at(pointer(&tables[24..])));
            assert_eq!((&xsdt[..4], sum(&xsdt)), (&b"XSDT"[..], 0));
            let fadt = whole(at(pointer(&xsdt[36..])));
            assert_eq!((&fadt[..4], sum(&fadt)), (&b"FACP"[..], 0));
            let dsdt = whole(at(pointer(&fadt[140..])));
            assert_eq!((&dsdt[..4], sum(&dsdt)), (&b"DSDT"[..], 0));
            assert_eq!(dsdt.windows(8).filter(|name| name == b"LNRO0005").count(), 3);
            let madt = whole(at(pointer(&xsdt[44..])));
            assert_eq!((&madt[..4], sum(&madt)), (&b"APIC"[..], 0));
            assert_eq!(madt.len(), 44 + 8 * usize::from(vcpus) + 12);
        }
    }
}
