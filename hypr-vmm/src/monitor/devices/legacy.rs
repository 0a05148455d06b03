//! What is left of the PC: a serial port that only prints, and the keyboard controller's reset line.

use std::{fs::File, io, os::unix::fs::FileExt};

use vm_superio::{Serial, Trigger, serial::NoEvents};

use crate::wire::CONSOLE_KEPT as KEPT;

/// The serial port's first register.
const SERIAL: u16 = 0x3f8;
/// The keyboard controller's command and status register.
const KEYBOARD_COMMAND: u16 = 0x64;
/// The command that pulses the processor's reset line.
const PULSE_RESET: u8 = 0xfe;
/// The ports that are not virtio's.
pub struct Ports {
    serial: Serial<NoInterrupt, NoEvents, Console>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

impl Ports {
    /// Ports whose output goes to `console`: eight bytes that count all output, and a ring of the newest.
    pub fn new(console: File) -> Self {
        Self { serial: Serial::new(NoInterrupt, Console { file: console, written: 0, line: Vec::new() }) }
    }

    /// The guest reads from `port`.
    pub fn read(&mut self, port: u16, bytes: &mut [u8]) {
        // Nothing answers at most ports, and a bus without an answer reads as ones.
        bytes.fill(0xff);
        if let ([byte], Some(offset)) = (&mut *bytes, serial_offset(port)) {
            *byte = self.serial.read(offset);
        } else if port == KEYBOARD_COMMAND {
            // Ready for commands.
            bytes.fill(0);
        }
    }

    /// The guest writes to `port`; true when it resets its machine.
    pub fn write(&mut self, port: u16, bytes: &[u8]) -> bool {
        match (bytes, serial_offset(port)) {
            ([byte], Some(offset)) => {
                // The console's file is memory; without memory there is nothing to print to.
                let _ = self.serial.write(offset, *byte);
                false
            }
            ([PULSE_RESET], None) => port == KEYBOARD_COMMAND,
            _ => false,
        }
    }

    /// Makes all output visible.
    pub(crate) fn flush(&mut self) {
        self.serial.writer_mut().store();
    }
}

fn serial_offset(port: u16) -> Option<u8> {
    port.checked_sub(SERIAL).filter(|offset| *offset < 8).and_then(|offset| u8::try_from(offset).ok())
}

/// The guest polls: an early console has no interrupt.
struct NoInterrupt;

impl Trigger for NoInterrupt {
    type E = std::convert::Infallible;

    fn trigger(&self) -> Result<(), Self::E> {
        Ok(())
    }
}

/// Output on its way into a file that the library reads, also when this process is no more.
struct Console {
    file: File,
    written: u64,
    line: Vec<u8>,
}

impl Console {
    fn store(&mut self) {
        let line = std::mem::take(&mut self.line);
        let mut rest = &line[..];
        while !rest.is_empty() {
            let place = self.written % KEPT;
            let room = usize::try_from(KEPT - place).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(room));
            // See `Ports::write`.
            let _ = self.file.write_all_at(now, 8 + place);
            self.written += now.len() as u64;
            rest = later;
        }
        let _ = self.file.write_all_at(&self.written.to_le_bytes(), 0);
    }
}

impl io::Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if bytes.contains(&b'\n') || self.line.len() >= 256 {
            self.store();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
