//! Guests that are no Linux: they bring the channel up by a script, say what the script has them say, and misbehave.
//!
//! A script is a list of [`Step`]s that a few lines of machine code carry out, so that a guest takes a few thousand
//! instructions and runs on a KVM that interprets, too.

/// Where the guest's file is loaded: its code, the script a page after it, then what queues lie in.
const BASE: u32 = 0x10_0000;
const SCRIPT: u32 = BASE + 0x1000;
const QUEUES: u32 = 0x18_0000;
/// Bytes from one queue to the next; the rings are in its second and third page.
const QUEUE: u32 = 0x3000;
/// What is said.
const WORDS: u32 = 0x20_0000;
const MAX_WORDS: usize = 8 << 20;

/// The console's registers.
const REGISTERS: u32 = 0xd000_0000;
const NOTIFY: u32 = 0x50;
const TRANSMIT: u32 = 1;
const CONTROL: u32 = 3;

// The interpreter: each step is an operation and two operands of 32 bits.
std::arch::global_asm!(
    ".pushsection .rodata.hypr_guest, \"a\"",
    ".globl hypr_test_guest, hypr_test_guest_end",
    "hypr_test_guest:",
    ".code32",
    "mov esi, {script}",
    "20: mov eax, [esi]",
    "mov ebx, [esi + 4]",
    "mov ecx, [esi + 8]",
    "add esi, 12",
    "cmp eax, 1",
    "jne 22f",
    "mov [ebx], ecx",
    "jmp 20b",
    "22: cmp eax, 2",
    "jne 23f",
    "32: pause",
    "cmp [ebx], cx",
    "jne 32b",
    "jmp 20b",
    "23: cmp eax, 3",
    "jne 24f",
    "mov esi, ebx",
    "jmp 20b",
    "24: cmp eax, 4",
    "jne 25f",
    "mov edx, ebx",
    "mov al, cl",
    "out dx, al",
    "jmp 20b",
    "25: cmp eax, 5",
    "jne 26f",
    "inc word ptr [ebx]",
    "jmp 20b",
    "26: cmp eax, 6",
    "jne 27f",
    "36: pause",
    "mov ax, [ebx]",
    "cmp ax, [ecx]",
    "jne 36b",
    "jmp 20b",
    "27: cmp eax, 7",
    "jne 28f",
    "mov edx, [ebx]",
    "jmp 20b",
    "28: cmp eax, 8",
    "jne 29f",
    // An empty table of interrupts.
    "lidt [{script} - 16]",
    "int3",
    "29: cmp eax, 9",
    "jne 30f",
    "39: jmp 39b",
    "30: cli",
    "hlt",
    "jmp 30b",
    "hypr_test_guest_end:",
    ".code64",
    ".popsection",
    script = const SCRIPT,
);

unsafe extern "C" {
    static hypr_test_guest: u8;
    static hypr_test_guest_end: u8;
}

/// What a guest does next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Writes to a register of the console.
    Register(u32, u32),
    /// Writes to memory.
    Write(u32, u32),
    /// Reads from memory, or where none is.
    Read(u32),
    /// Writes to a port.
    Out(u16, u8),
    /// Says these bytes in one request, and waits until they are taken.
    Say(Vec<u8>),
    /// Says these bytes over and over.
    SayForEver(Vec<u8>),
    /// Faults until the processor gives up.
    TripleFault,
    /// Runs in a circle.
    Spin,
}

/// A guest that carries out a script.
#[derive(Debug, Default)]
pub(super) struct Guest {
    steps: Vec<Step>,
}

impl Guest {
    /// One that does nothing at all.
    pub(super) fn silent() -> Self {
        Self::default()
    }

    /// One whose channel is open.
    pub(super) fn connected() -> Self {
        let mut steps = vec![Step::Register(0x70, 0), Step::Register(0x70, 1), Step::Register(0x70, 3)];
        // The features: ports, and version 1.
        for (page, bits) in [(0, 2), (1, 1)] {
            steps.extend([Step::Register(0x24, page), Step::Register(0x20, bits)]);
        }
        steps.push(Step::Register(0x70, 11));
        for (queue, size) in [(0, 64), (1, 64), (2, 16), (3, 16)] {
            let [table, available, used] = rings(queue);
            let registers = [(0x30, queue), (0x38, size), (0x80, table), (0x84, 0), (0x90, available), (0x94, 0)];
            steps.extend(registers.map(|(register, value)| Step::Register(register, value)));
            steps.extend([(0xa0, used), (0xa4, 0), (0x44, 1)].map(|(register, value)| Step::Register(register, value)));
        }
        steps.push(Step::Register(0x70, 15));
        // The device is ready, the port is ready, the port is open: prepared in the guest's file.
        steps.push(Step::Register(NOTIFY, CONTROL));
        Self { steps }
    }

    pub(super) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Prints a line on the kernel's console.
    pub(super) fn print(self, line: &str) -> Self {
        line.bytes().chain([b'\n']).fold(self, |guest, byte| guest.then(Step::Out(0x3f8, byte)))
    }

    pub(super) fn say(self, words: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Say(words.into()))
    }

    /// The guest as a kernel: an ELF file with a PVH entry, and the banner that Linux has.
    pub(super) fn kernel(&self) -> Vec<u8> {
        let mut memory = Memory::default();
        memory.put(BASE, code());
        for (number, (event, value)) in [(0_u16, 1_u16), (3, 1), (6, 1)].into_iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            let message = WORDS - 64 + 8 * number;
            memory.put(message + 4, &[event.to_le_bytes(), value.to_le_bytes()].concat());
            memory.describe(CONTROL, number, message, 8);
        }
        memory.offer(CONTROL, 3);
        let script = memory.script(&self.steps);
        memory.put(SCRIPT, &script);
        elf(&memory.0)
    }
}

/// Where a queue's descriptor table, available ring and used ring are.
fn rings(queue: u32) -> [u32; 3] {
    let table = QUEUES + queue * QUEUE;
    [table, table + 0x1000, table + 0x2000]
}

fn code() -> &'static [u8] {
    let begin = &raw const hypr_test_guest;
    let end = &raw const hypr_test_guest_end;
    // SAFETY: both are labels of one piece of constant data, in this order.
    unsafe { std::slice::from_raw_parts(begin, end.offset_from_unsigned(begin)) }
}

/// The guest's memory from [`BASE`] on.
#[derive(Debug, Default)]
struct Memory(Vec<u8>);

impl Memory {
    fn put(&mut self, address: u32, bytes: &[u8]) {
        let at = (address - BASE) as usize;
        if self.0.len() < at + bytes.len() {
            self.0.resize(at + bytes.len(), 0);
        }
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes descriptor `number` of a queue `length` bytes at `address` that the device may read.
    fn describe(&mut self, queue: u32, number: u32, address: u32, length: u32) {
        let [table, available, _] = rings(queue);
        self.put(table + 16 * number, &[u64::from(address).to_le_bytes(), u64::from(length).to_le_bytes()].concat());
        self.put(available + 4 + 2 * number, &u16::try_from(number).unwrap().to_le_bytes());
    }

    fn offer(&mut self, queue: u32, count: u16) {
        self.put(rings(queue)[1] + 2, &count.to_le_bytes());
    }

    /// The script in the interpreter's form; what it says is put into memory.
    fn script(&mut self, steps: &[Step]) -> Vec<u8> {
        let mut script: Vec<[u32; 3]> = Vec::new();
        let (mut words, mut said) = (WORDS, 0);
        let [_, available, used] = rings(TRANSMIT);
        for step in steps {
            match step {
                Step::Register(register, value) => script.push([1, REGISTERS + register, *value]),
                Step::Write(address, value) => script.push([1, *address, *value]),
                Step::Read(address) => script.push([7, *address, 0]),
                Step::Out(port, value) => script.push([4, (*port).into(), (*value).into()]),
                Step::TripleFault => script.push([8, 0, 0]),
                Step::Spin => script.push([9, 0, 0]),
                Step::Say(bytes) | Step::SayForEver(bytes) => {
                    let length = u32::try_from(bytes.len()).unwrap();
                    self.put(words, bytes);
                    let is_endless = matches!(step, Step::SayForEver(_));
                    for place in if is_endless { said..64 } else { said..said + 1 } {
                        self.describe(TRANSMIT, place, words, length);
                    }
                    // What was said before is not said again when the ring comes round.
                    for place in if is_endless { 0..said } else { 0..0 } {
                        let descriptor = rings(TRANSMIT)[0] + 16 * place;
                        script.extend([[1, descriptor, words], [1, descriptor + 8, length]]);
                    }
                    let begin = SCRIPT + 12 * u32::try_from(script.len()).unwrap();
                    script.extend([[5, available + 2, 0], [1, REGISTERS + NOTIFY, TRANSMIT]]);
                    script.push([6, available + 2, used + 2]);
                    if is_endless {
                        script.push([3, begin, 0]);
                    }
                    words += length.next_multiple_of(16);
                    said += 1;
                }
            }
        }
        assert!(said <= 64 && words as usize - (WORDS as usize) < MAX_WORDS, "a script that is too long");
        script.push([0, 0, 0]);
        assert!(script.len() * 12 < (QUEUES - SCRIPT) as usize, "a script that is too long");
        script.into_iter().flatten().flat_map(u32::to_le_bytes).collect()
    }
}

/// An ELF file whose only segment is loaded to [`BASE`], where its PVH entry is (ELF-64 object file format; the note is
/// Xen's `PHYS32_ENTRY`).
fn elf(memory: &[u8]) -> Vec<u8> {
    const NOTE: u64 = 64 + 2 * 56;
    const CONTENT: u16 = 0x1000;
    let header = |kind: u32, flags: u32, offset: u64, address: u64, length: u64, alignment: u64| {
        let words = [offset, address, address, length, length, alignment];
        [&kind.to_le_bytes()[..], &flags.to_le_bytes(), &words.map(u64::to_le_bytes).concat()].concat()
    };
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for value in [2_u16, 62] {
        file.extend(value.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for value in [u64::from(BASE), 64, 0] {
        file.extend(value.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for value in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    file.extend(header(1, 7, CONTENT.into(), BASE.into(), memory.len() as u64, 0x1000));
    file.extend(header(4, 4, NOTE, 0, 24, 4));
    for value in [4_u32, 8, 18] {
        file.extend(value.to_le_bytes());
    }
    file.extend(b"Xen\0");
    file.extend(u64::from(BASE).to_le_bytes());
    file.extend(b"Linux version 0.0.0-test \0");
    file.resize(CONTENT.into(), 0);
    file.extend(memory);
    file
}
