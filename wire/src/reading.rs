//! What a sensor yields: one quantity of one device, as an integer in the quantity's own unit.
//!
//! No floats: a decision must replay bit for bit. A reading that could not be taken is [`Reading::value`]` = None`,
//! never 0.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::IdError;

/// A part of a node: `node`, `cpu3`, `gpu0`, `disk:sda`, `fs:/var`, `net:eth0`, `sensor:k10temp`, `workload:train`.
///
/// 1 to 128 printable ASCII characters without space, comma or quote. The part before the digits or the colon is its class
/// ([`DeviceId::class`]), which rules select by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct DeviceId(String);

impl DeviceId {
    /// Checks the grammar and returns the id.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        let valid = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'"' | b'\''))
            && text.as_bytes()[0].is_ascii_lowercase();
        if valid {
            Ok(Self(text))
        } else {
            Err(IdError {
                what: "device",
                text,
                rule: "a lower-case class and a name, for example gpu0, fs:/var or workload:train, at most 128 characters",
            })
        }
    }

    /// The node as a whole.
    pub fn node() -> Self {
        Self("node".to_owned())
    }

    /// The GPU with this index in the probe's order.
    pub fn gpu(index: u32) -> Self {
        Self(format!("gpu{index}"))
    }

    /// The supervised process with this name.
    pub fn workload(name: &str) -> Result<Self, IdError> {
        Self::new(format!("workload:{name}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of device: `gpu` of `gpu0`, `fs` of `fs:/var`.
    pub fn class(&self) -> &str {
        let end = self
            .0
            .find(|c: char| c == ':' || c.is_ascii_digit())
            .unwrap_or(self.0.len());
        &self.0[..end]
    }

    /// What follows the class: `0` of `gpu0`, `/var` of `fs:/var`, empty for `node`.
    pub fn name(&self) -> &str {
        self.0[self.class().len()..].trim_start_matches(':')
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DeviceId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The unit that a quantity is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Thousandths of a degree Celsius.
    MilliCelsius,
    /// Thousandths of a watt.
    Milliwatt,
    /// Hundredths of a percent: 10,000 is all of it.
    BasisPoints,
    /// Thousandths, for load averages.
    Milli,
    /// Bytes.
    Bytes,
    /// Bytes in a second.
    BytesPerSecond,
    /// Things in a second, in thousandths.
    MilliPerSecond,
    /// Thousandths of a second.
    Milliseconds,
    /// Millions of cycles in a second.
    Megahertz,
    /// Plain count.
    Count,
    /// 0 or 1.
    Flag,
}

impl Unit {
    /// The word in JSON and in the contract with brains.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MilliCelsius => "milli_celsius",
            Self::Milliwatt => "milliwatt",
            Self::BasisPoints => "basis_points",
            Self::Milli => "milli",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes_per_second",
            Self::MilliPerSecond => "milli_per_second",
            Self::Milliseconds => "milliseconds",
            Self::Megahertz => "megahertz",
            Self::Count => "count",
            Self::Flag => "flag",
        }
    }
}

macro_rules! quantities {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $unit:ident;)*) => {
        /// What is measured. The order is part of the wire format: add at the end only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Quantity { $($(#[$doc])* $variant,)* }

        impl Quantity {
            /// Every quantity, in wire order.
            pub const ALL: &'static [Quantity] = &[$(Quantity::$variant,)*];

            /// The name that people and bundles use, for example `gpu.temperature`.
            pub const fn name(self) -> &'static str {
                match self { $(Quantity::$variant => $name,)* }
            }

            /// The unit that values of this quantity are counted in.
            pub const fn unit(self) -> Unit {
                match self { $(Quantity::$variant => Unit::$unit,)* }
            }
        }
    };
}

quantities! {
    /// Share of time that a core, or the node, was not idle.
    CpuUsed = "cpu.used", BasisPoints;
    /// Share of time in user mode.
    CpuUser = "cpu.user", BasisPoints;
    /// Share of time in the kernel.
    CpuSystem = "cpu.system", BasisPoints;
    /// Share of time waiting for a disk.
    CpuIoWait = "cpu.iowait", BasisPoints;
    /// Share of time that the hypervisor gave to others.
    CpuSteal = "cpu.steal", BasisPoints;
    /// Present clock of a core.
    CpuClock = "cpu.clock", Megahertz;
    /// One-minute load average.
    Load1 = "load.1m", Milli;
    /// Five-minute load average.
    Load5 = "load.5m", Milli;
    /// Fifteen-minute load average.
    Load15 = "load.15m", Milli;
    /// Runnable tasks.
    TasksRunnable = "tasks.runnable", Count;
    /// All tasks.
    TasksTotal = "tasks.total", Count;
    /// Context switches.
    ContextSwitches = "kernel.context_switches", MilliPerSecond;
    /// Interrupts.
    Interrupts = "kernel.interrupts", MilliPerSecond;
    /// Forks.
    Forks = "kernel.forks", MilliPerSecond;
    /// Installed memory.
    MemoryTotal = "memory.total", Bytes;
    /// Memory that programs could still get (`MemAvailable`).
    MemoryAvailable = "memory.available", Bytes;
    /// Memory that nothing uses (`MemFree`).
    MemoryFree = "memory.free", Bytes;
    /// Page cache.
    MemoryCached = "memory.cached", Bytes;
    /// Block-device buffers.
    MemoryBuffers = "memory.buffers", Bytes;
    /// Pages waiting to be written.
    MemoryDirty = "memory.dirty", Bytes;
    /// Kernel slab.
    MemorySlab = "memory.slab", Bytes;
    /// Share of memory that is not available.
    MemoryUsedShare = "memory.used", BasisPoints;
    /// Swap in use.
    SwapUsed = "swap.used", Bytes;
    /// Swap in all.
    SwapTotal = "swap.total", Bytes;
    /// Pressure stall information, share of the last 10 s in which some task waited for a CPU.
    PressureCpuSome = "pressure.cpu.some", BasisPoints;
    /// The same for memory, some task.
    PressureMemorySome = "pressure.memory.some", BasisPoints;
    /// The same for memory, all tasks.
    PressureMemoryFull = "pressure.memory.full", BasisPoints;
    /// The same for I/O, some task.
    PressureIoSome = "pressure.io.some", BasisPoints;
    /// The same for I/O, all tasks.
    PressureIoFull = "pressure.io.full", BasisPoints;
    /// Bytes read from a disk.
    DiskRead = "disk.read", BytesPerSecond;
    /// Bytes written to a disk.
    DiskWrite = "disk.write", BytesPerSecond;
    /// Reads completed.
    DiskReads = "disk.reads", MilliPerSecond;
    /// Writes completed.
    DiskWrites = "disk.writes", MilliPerSecond;
    /// Share of time that a disk had work.
    DiskBusy = "disk.busy", BasisPoints;
    /// Requests in flight.
    DiskInFlight = "disk.in_flight", Count;
    /// Size of a file system.
    FsTotal = "fs.total", Bytes;
    /// Bytes of a file system that an ordinary user can still write.
    FsAvailable = "fs.available", Bytes;
    /// Share of a file system that is used.
    FsUsedShare = "fs.used", BasisPoints;
    /// Share of inodes that is used.
    FsInodesUsedShare = "fs.inodes_used", BasisPoints;
    /// Bytes received by an interface.
    NetReceived = "net.received", BytesPerSecond;
    /// Bytes sent by an interface.
    NetSent = "net.sent", BytesPerSecond;
    /// Packets received.
    NetPacketsReceived = "net.packets_received", MilliPerSecond;
    /// Packets sent.
    NetPacketsSent = "net.packets_sent", MilliPerSecond;
    /// Receive errors and drops since the interface came up.
    NetReceiveErrors = "net.receive_errors", Count;
    /// Send errors and drops since the interface came up.
    NetSendErrors = "net.send_errors", Count;
    /// Temperature of a hwmon or thermal-zone sensor.
    Temperature = "temperature", MilliCelsius;
    /// Time since the machine started.
    Uptime = "uptime", Milliseconds;
    /// 1 while the GPU probe answers within its deadline, 0 when it has missed two.
    GpuProbe = "gpu.probe", Flag;
    /// GPU core temperature.
    GpuTemperature = "gpu.temperature", MilliCelsius;
    /// GPU memory temperature.
    GpuMemoryTemperature = "gpu.memory_temperature", MilliCelsius;
    /// Power that the board draws.
    GpuPower = "gpu.power", Milliwatt;
    /// Power limit in force.
    GpuPowerCap = "gpu.power_cap", Milliwatt;
    /// Share of time in which a kernel ran.
    GpuUsed = "gpu.used", BasisPoints;
    /// Device memory in use.
    GpuMemoryUsed = "gpu.memory_used", Bytes;
    /// Device memory in all.
    GpuMemoryTotal = "gpu.memory_total", Bytes;
    /// SM clock.
    GpuClock = "gpu.clock", Megahertz;
    /// Fan speed.
    GpuFan = "gpu.fan", BasisPoints;
    /// Uncorrected ECC errors since the driver was loaded.
    GpuEccUncorrected = "gpu.ecc_uncorrected", Count;
    /// Bit mask of NVML clocks-event reasons.
    GpuThrottleReasons = "gpu.throttle_reasons", Count;
    /// Resident memory of a supervised process and its children.
    WorkloadMemory = "workload.memory", Bytes;
    /// CPU of a supervised process and its children; one full core is 10,000.
    WorkloadCpu = "workload.cpu", BasisPoints;
    /// Process id of a supervised process; missing while it does not run.
    WorkloadPid = "workload.pid", Count;
    /// Restarts of a supervised process since the agent first started it.
    WorkloadRestarts = "workload.restarts", Count;
    /// Resident memory of the agent itself.
    AgentMemory = "agent.memory", Bytes;
    /// CPU of the agent itself.
    AgentCpu = "agent.cpu", BasisPoints;
    /// Open file descriptors of the agent itself.
    AgentFiles = "agent.files", Count;
    /// Bytes that the journal occupies.
    AgentJournal = "agent.journal", Bytes;
    /// Page-ins and page-outs to swap.
    SwapPages = "swap.pages", MilliPerSecond;
    /// Page faults that needed a disk.
    MajorFaults = "memory.major_faults", MilliPerSecond;
    /// Allocated file handles of the whole system.
    FileHandles = "kernel.file_handles", Count;
    /// TCP connections that are established.
    TcpEstablished = "tcp.established", Count;
    /// TCP segments sent again.
    TcpRetransmits = "tcp.retransmits", MilliPerSecond;
    /// UDP datagrams that found no buffer.
    UdpBufferErrors = "udp.buffer_errors", MilliPerSecond;
    /// Share of time in user mode at a lowered priority.
    CpuNice = "cpu.nice", BasisPoints;
    /// Share of time serving hardware interrupts.
    CpuIrq = "cpu.irq", BasisPoints;
    /// Share of time serving software interrupts.
    CpuSoftIrq = "cpu.softirq", BasisPoints;
    /// Share of time running guests.
    CpuGuest = "cpu.guest", BasisPoints;
    /// Tasks that wait for a device.
    TasksBlocked = "tasks.blocked", Count;
    /// Software interrupts.
    SoftIrqs = "kernel.softirqs", MilliPerSecond;
    /// File handles that the whole system may allocate.
    FileHandlesMax = "kernel.file_handles_max", Count;
    /// Sockets of the whole system.
    SocketsUsed = "kernel.sockets", Count;
    /// Recently used memory.
    MemoryActive = "memory.active", Bytes;
    /// Memory that is reclaimed first.
    MemoryInactive = "memory.inactive", Bytes;
    /// Recently used page cache.
    MemoryActiveFile = "memory.active_file", Bytes;
    /// Page cache that is reclaimed first.
    MemoryInactiveFile = "memory.inactive_file", Bytes;
    /// Memory of programs that no file backs.
    MemoryAnonymous = "memory.anonymous", Bytes;
    /// Mapped files.
    MemoryMapped = "memory.mapped", Bytes;
    /// Shared memory and tmpfs.
    MemoryShared = "memory.shared", Bytes;
    /// Page tables.
    MemoryPageTables = "memory.page_tables", Bytes;
    /// Kernel stacks.
    MemoryKernelStack = "memory.kernel_stack", Bytes;
    /// Memory promised to programs.
    MemoryCommitted = "memory.committed", Bytes;
    /// Memory that may be promised to programs.
    MemoryCommitLimit = "memory.commit_limit", Bytes;
    /// Pages being written.
    MemoryWriteback = "memory.writeback", Bytes;
    /// Kernel slab that can be given back.
    MemorySlabReclaimable = "memory.slab_reclaimable", Bytes;
    /// Memory that cannot be reclaimed.
    MemoryUnevictable = "memory.unevictable", Bytes;
    /// Memory locked by programs.
    MemoryLocked = "memory.locked", Bytes;
    /// Per-CPU allocations.
    MemoryPerCpu = "memory.per_cpu", Bytes;
    /// Kernel's virtually contiguous memory.
    MemoryVmallocUsed = "memory.vmalloc_used", Bytes;
    /// Huge pages in the pool.
    MemoryHugeTotal = "memory.huge_pages_total", Count;
    /// Huge pages in the pool that nothing uses.
    MemoryHugeFree = "memory.huge_pages_free", Count;
    /// Swapped memory that is also in memory.
    SwapCached = "swap.cached", Bytes;
    /// Bytes brought in from disks.
    PagedIn = "memory.paged_in", BytesPerSecond;
    /// Bytes written out to disks.
    PagedOut = "memory.paged_out", BytesPerSecond;
    /// Page faults.
    PageFaults = "memory.faults", MilliPerSecond;
    /// Pages freed.
    PagesFreed = "memory.pages_freed", MilliPerSecond;
    /// Pages moved to the active list.
    PagesActivated = "memory.pages_activated", MilliPerSecond;
    /// Pages moved to the inactive list.
    PagesDeactivated = "memory.pages_deactivated", MilliPerSecond;
    /// Pages looked at for reclaim, by the daemon and directly.
    PagesScanned = "memory.pages_scanned", MilliPerSecond;
    /// Pages reclaimed, by the daemon and directly.
    PagesReclaimed = "memory.pages_reclaimed", MilliPerSecond;
    /// Allocations that waited for compaction.
    CompactStalls = "memory.compact_stalls", MilliPerSecond;
    /// Processes killed for want of memory since the machine started.
    OomKills = "memory.oom_kills", Count;
    /// As `pressure.cpu.some`, over 60 s.
    PressureCpuSome60 = "pressure.cpu.some_60s", BasisPoints;
    /// As `pressure.memory.some`, over 60 s.
    PressureMemorySome60 = "pressure.memory.some_60s", BasisPoints;
    /// As `pressure.memory.full`, over 60 s.
    PressureMemoryFull60 = "pressure.memory.full_60s", BasisPoints;
    /// As `pressure.io.some`, over 60 s.
    PressureIoSome60 = "pressure.io.some_60s", BasisPoints;
    /// As `pressure.io.full`, over 60 s.
    PressureIoFull60 = "pressure.io.full_60s", BasisPoints;
    /// As `pressure.cpu.some`, over 300 s.
    PressureCpuSome300 = "pressure.cpu.some_300s", BasisPoints;
    /// As `pressure.memory.some`, over 300 s.
    PressureMemorySome300 = "pressure.memory.some_300s", BasisPoints;
    /// As `pressure.memory.full`, over 300 s.
    PressureMemoryFull300 = "pressure.memory.full_300s", BasisPoints;
    /// As `pressure.io.some`, over 300 s.
    PressureIoSome300 = "pressure.io.some_300s", BasisPoints;
    /// As `pressure.io.full`, over 300 s.
    PressureIoFull300 = "pressure.io.full_300s", BasisPoints;
    /// Reads merged with a neighbour.
    DiskReadsMerged = "disk.reads_merged", MilliPerSecond;
    /// Writes merged with a neighbour.
    DiskWritesMerged = "disk.writes_merged", MilliPerSecond;
    /// Mean time that a read took; missing when there was none.
    DiskReadWait = "disk.read_wait", Milliseconds;
    /// Mean time that a write took; missing when there was none.
    DiskWriteWait = "disk.write_wait", Milliseconds;
    /// Mean number of requests that waited or were served.
    DiskQueue = "disk.queue", Milli;
    /// Bytes discarded (TRIM).
    DiskDiscard = "disk.discard", BytesPerSecond;
    /// Flushes completed.
    DiskFlushes = "disk.flushes", MilliPerSecond;
    /// Bytes of a file system that nothing uses, the reserve for root included.
    FsFree = "fs.free", Bytes;
    /// Inodes of a file system that nothing uses.
    FsInodesFree = "fs.inodes_free", Count;
    /// 1 when a file system refuses writes.
    FsReadOnly = "fs.read_only", Flag;
    /// Received packets dropped since the interface came up.
    NetReceiveDropped = "net.receive_dropped", Count;
    /// Sent packets dropped since the interface came up.
    NetSendDropped = "net.send_dropped", Count;
    /// Multicast packets received.
    NetMulticast = "net.multicast", MilliPerSecond;
    /// Collisions since the interface came up.
    NetCollisions = "net.collisions", Count;
    /// TCP connections opened by this machine.
    TcpActiveOpens = "tcp.active_opens", MilliPerSecond;
    /// TCP connections opened by others.
    TcpPassiveOpens = "tcp.passive_opens", MilliPerSecond;
    /// TCP connections that failed to open.
    TcpAttemptFails = "tcp.attempt_fails", MilliPerSecond;
    /// TCP connections reset.
    TcpResets = "tcp.resets", MilliPerSecond;
    /// TCP segments received.
    TcpReceived = "tcp.received", MilliPerSecond;
    /// TCP segments sent.
    TcpSent = "tcp.sent", MilliPerSecond;
    /// Broken TCP segments received.
    TcpErrors = "tcp.errors", MilliPerSecond;
    /// TCP resets sent.
    TcpResetsSent = "tcp.resets_sent", MilliPerSecond;
    /// TCP connections that found a full accept queue.
    TcpListenOverflows = "tcp.listen_overflows", MilliPerSecond;
    /// TCP connections dropped while being opened.
    TcpListenDrops = "tcp.listen_drops", MilliPerSecond;
    /// TCP retransmission timeouts.
    TcpTimeouts = "tcp.timeouts", MilliPerSecond;
    /// TCP connection requests sent again.
    TcpSynRetransmits = "tcp.syn_retransmits", MilliPerSecond;
    /// TCP sockets in use.
    TcpInUse = "tcp.in_use", Count;
    /// TCP sockets that no process holds.
    TcpOrphans = "tcp.orphans", Count;
    /// TCP sockets in TIME_WAIT.
    TcpTimeWait = "tcp.time_wait", Count;
    /// TCP sockets allocated.
    TcpAllocated = "tcp.allocated", Count;
    /// UDP sockets in use.
    UdpInUse = "udp.in_use", Count;
    /// UDP datagrams received.
    UdpReceived = "udp.received", MilliPerSecond;
    /// UDP datagrams sent.
    UdpSent = "udp.sent", MilliPerSecond;
    /// UDP datagrams that nobody listened for.
    UdpNoPorts = "udp.no_ports", MilliPerSecond;
    /// UDP datagrams that could not be delivered.
    UdpErrors = "udp.errors", MilliPerSecond;
    /// IP packets received.
    IpReceived = "ip.received", MilliPerSecond;
    /// IP packets delivered to a protocol.
    IpDelivered = "ip.delivered", MilliPerSecond;
    /// IP packets sent.
    IpSent = "ip.sent", MilliPerSecond;
    /// IP packets forwarded.
    IpForwarded = "ip.forwarded", MilliPerSecond;
    /// IP packets received and discarded.
    IpDiscarded = "ip.discarded", MilliPerSecond;
    /// IP packets that had no route.
    IpNoRoutes = "ip.no_routes", MilliPerSecond;
    /// ICMP messages received.
    IcmpReceived = "icmp.received", MilliPerSecond;
    /// ICMP messages sent.
    IcmpSent = "icmp.sent", MilliPerSecond;
    /// Broken ICMP messages received.
    IcmpErrors = "icmp.errors", MilliPerSecond;
    /// Threads of the agent itself.
    AgentThreads = "agent.threads", Count;
    /// Threads of a supervised process and its children.
    WorkloadThreads = "workload.threads", Count;
    /// Processes of a supervised workload.
    WorkloadProcesses = "workload.processes", Count;
    /// Software interrupts for high-priority tasklets.
    SoftIrqHi = "softirq.hi", MilliPerSecond;
    /// Software interrupts for timers.
    SoftIrqTimer = "softirq.timer", MilliPerSecond;
    /// Software interrupts for sending packets.
    SoftIrqNetTx = "softirq.net_tx", MilliPerSecond;
    /// Software interrupts for receiving packets.
    SoftIrqNetRx = "softirq.net_rx", MilliPerSecond;
    /// Software interrupts for finished disk requests.
    SoftIrqBlock = "softirq.block", MilliPerSecond;
    /// Software interrupts for polled disk requests.
    SoftIrqIrqPoll = "softirq.irq_poll", MilliPerSecond;
    /// Software interrupts for tasklets.
    SoftIrqTasklet = "softirq.tasklet", MilliPerSecond;
    /// Software interrupts for the scheduler.
    SoftIrqSched = "softirq.sched", MilliPerSecond;
    /// Software interrupts for high-resolution timers.
    SoftIrqHrTimer = "softirq.hrtimer", MilliPerSecond;
    /// Software interrupts for read-copy-update.
    SoftIrqRcu = "softirq.rcu", MilliPerSecond;
    /// Share of the time since the last round in which some task waited for a CPU.
    PressureCpuSomeNow = "pressure.cpu.some_now", BasisPoints;
    /// Share of the time since the last round in which some task waited for memory.
    PressureMemorySomeNow = "pressure.memory.some_now", BasisPoints;
    /// Share of the time since the last round in which all tasks waited for memory.
    PressureMemoryFullNow = "pressure.memory.full_now", BasisPoints;
    /// Share of the time since the last round in which some task waited for I/O.
    PressureIoSomeNow = "pressure.io.some_now", BasisPoints;
    /// Share of the time since the last round in which all tasks waited for I/O.
    PressureIoFullNow = "pressure.io.full_now", BasisPoints;
    /// TCP segments sent again before a timeout.
    TcpFastRetransmits = "tcp.fast_retransmits", MilliPerSecond;
    /// TCP segments sent again in slow start.
    TcpSlowStartRetransmits = "tcp.slow_start_retransmits", MilliPerSecond;
    /// TCP segments sent again that were lost again.
    TcpLostRetransmits = "tcp.lost_retransmits", MilliPerSecond;
    /// TCP segments that could not be sent again.
    TcpRetransmitFails = "tcp.retransmit_fails", MilliPerSecond;
    /// TCP segments dropped because a socket's backlog was full.
    TcpBacklogDrops = "tcp.backlog_drops", MilliPerSecond;
    /// TCP segments dropped because a receive queue was full.
    TcpReceiveQueueDrops = "tcp.receive_queue_drops", MilliPerSecond;
    /// TCP receive queues pruned for want of memory.
    TcpPruned = "tcp.pruned", MilliPerSecond;
    /// Times that TCP came under memory pressure.
    TcpMemoryPressures = "tcp.memory_pressures", MilliPerSecond;
    /// TCP connections aborted with unread data.
    TcpAbortsOnData = "tcp.aborts_on_data", MilliPerSecond;
    /// TCP connections aborted by a timeout.
    TcpAbortsOnTimeout = "tcp.aborts_on_timeout", MilliPerSecond;
    /// TCP connections aborted for want of memory.
    TcpAbortsOnMemory = "tcp.aborts_on_memory", MilliPerSecond;
    /// TCP segments received out of order.
    TcpOutOfOrder = "tcp.out_of_order", MilliPerSecond;
    /// TCP acknowledgements sent late on purpose.
    TcpDelayedAcks = "tcp.delayed_acks", MilliPerSecond;
    /// TCP keep-alive probes sent.
    TcpKeepAlives = "tcp.keep_alives", MilliPerSecond;
    /// TCP SYN cookies sent.
    TcpSynCookiesSent = "tcp.syn_cookies_sent", MilliPerSecond;
    /// TCP SYN cookies that did not validate.
    TcpSynCookiesFailed = "tcp.syn_cookies_failed", MilliPerSecond;
    /// TCP segments with a wrong checksum.
    TcpChecksumErrors = "tcp.checksum_errors", MilliPerSecond;
    /// Memory of TCP's buffers.
    TcpMemory = "tcp.memory", Bytes;
    /// UDP datagrams that found no send buffer.
    UdpSendBufferErrors = "udp.send_buffer_errors", MilliPerSecond;
    /// UDP datagrams with a wrong checksum.
    UdpChecksumErrors = "udp.checksum_errors", MilliPerSecond;
    /// Memory of UDP's buffers.
    UdpMemory = "udp.memory", Bytes;
    /// Bytes of IP packets received.
    IpReceivedBytes = "ip.received_bytes", BytesPerSecond;
    /// Bytes of IP packets sent.
    IpSentBytes = "ip.sent_bytes", BytesPerSecond;
    /// IP packets with a broken header.
    IpHeaderErrors = "ip.header_errors", MilliPerSecond;
    /// IP fragments that could not be put together.
    IpReassemblyFails = "ip.reassembly_fails", MilliPerSecond;
    /// IP packets split into fragments.
    IpFragmented = "ip.fragmented", MilliPerSecond;
    /// IP packets discarded before they were sent.
    IpSendDiscarded = "ip.send_discarded", MilliPerSecond;
    /// ICMP destination-unreachable messages received.
    IcmpUnreachableReceived = "icmp.unreachable_received", MilliPerSecond;
    /// ICMP destination-unreachable messages sent.
    IcmpUnreachableSent = "icmp.unreachable_sent", MilliPerSecond;
    /// ICMP echo requests received.
    IcmpEchoReceived = "icmp.echo_received", MilliPerSecond;
    /// Pages allocated in ordinary memory.
    PagesAllocated = "memory.pages_allocated", MilliPerSecond;
    /// Pages of files read again soon after they were reclaimed.
    PagesRefaulted = "memory.pages_refaulted", MilliPerSecond;
    /// Allocations that had to reclaim memory themselves.
    AllocationStalls = "memory.allocation_stalls", MilliPerSecond;
    /// Page faults served with a huge page.
    HugePageFaults = "memory.huge_page_faults", MilliPerSecond;
    /// Slab objects looked at for reclaim.
    SlabsScanned = "memory.slabs_scanned", MilliPerSecond;
    /// Pages moved to another place in memory.
    PagesMigrated = "memory.pages_migrated", MilliPerSecond;
    /// Power limit in force after every other limit on the board.
    GpuPowerEnforced = "gpu.power_enforced", Milliwatt;
    /// Share of time in which device memory was read or written.
    GpuMemoryBusy = "gpu.memory_busy", BasisPoints;
    /// Share of time that the video encoder was busy.
    GpuEncoderUsed = "gpu.encoder_used", BasisPoints;
    /// Share of time that the video decoder was busy.
    GpuDecoderUsed = "gpu.decoder_used", BasisPoints;
    /// Memory clock.
    GpuMemoryClock = "gpu.memory_clock", Megahertz;
    /// Greatest SM clock.
    GpuClockMax = "gpu.clock_max", Megahertz;
    /// Core temperature at which the hardware slows down.
    GpuTemperatureSlowdown = "gpu.temperature_slowdown", MilliCelsius;
    /// As before, as a distance from the greatest operating temperature: negative is past it.
    GpuTemperatureSlowdownMargin = "gpu.temperature_slowdown_margin", MilliCelsius;
    /// Corrected ECC errors since the driver was loaded.
    GpuEccCorrected = "gpu.ecc_corrected", Count;
    /// Memory rows replaced after corrected errors.
    GpuRowsRemappedCorrected = "gpu.rows_remapped_corrected", Count;
    /// Memory rows replaced after uncorrected errors.
    GpuRowsRemappedUncorrected = "gpu.rows_remapped_uncorrected", Count;
    /// 1 while a row waits for a reset to be replaced.
    GpuRowRemapPending = "gpu.row_remap_pending", Flag;
    /// 1 when a row could not be replaced.
    GpuRowRemapFailed = "gpu.row_remap_failed", Flag;
    /// Memory pages retired, on GPUs that do so.
    GpuPagesRetired = "gpu.pages_retired", Count;
    /// 1 while a page waits for a reset to be retired.
    GpuPagesPending = "gpu.pages_pending", Flag;
    /// Bytes that the GPU sent over PCIe, over the last 20 ms.
    GpuPcieSent = "gpu.pcie_sent", BytesPerSecond;
    /// Bytes that it received.
    GpuPcieReceived = "gpu.pcie_received", BytesPerSecond;
    /// PCIe packets sent again.
    GpuPcieReplays = "gpu.pcie_replays", Count;
    /// Generation of its PCIe link.
    GpuPcieGeneration = "gpu.pcie_generation", Count;
    /// Greatest generation of it.
    GpuPcieGenerationMax = "gpu.pcie_generation_max", Count;
    /// Lanes of its PCIe link.
    GpuPcieWidth = "gpu.pcie_width", Count;
    /// Greatest number of lanes.
    GpuPcieWidthMax = "gpu.pcie_width_max", Count;
    /// NVLinks that it has.
    GpuNvlinks = "gpu.nvlinks", Count;
    /// CRC errors, replays and recoveries of all its NVLinks.
    GpuNvlinkErrors = "gpu.nvlink_errors", Count;
    /// What the driver wants done: 0 nothing, 1 GPU reset, 2 node reboot, 3 drain peers, 4 drain and reset.
    GpuRecoveryAction = "gpu.recovery_action", Count;
    /// 1 while the driver stays loaded without clients.
    GpuPersistence = "gpu.persistence", Flag;
    /// 1 while it is cut into instances (MIG).
    GpuMig = "gpu.mig", Flag;
    /// Processes with a compute context.
    GpuProcesses = "gpu.processes", Count;
    /// Performance state: 0 is the fastest.
    GpuPerformanceState = "gpu.performance_state", Count;
    /// Energy drawn since the driver was loaded, thousandths of a joule.
    GpuEnergy = "gpu.energy", Count;
}

impl Quantity {
    /// The quantity with this wire number, if this build knows it.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Quantity {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL
            .iter()
            .copied()
            .find(|quantity| quantity.name() == text)
            .ok_or_else(|| IdError {
                what: "quantity",
                text: text.to_owned(),
                rule: "a name such as gpu.temperature or memory.used (all of them: sentinel policy explain quantities)",
            })
    }
}

impl Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.name())
        } else {
            serializer.serialize_u16(*self as u16)
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(serde::de::Error::custom)
        } else {
            let number = u16::deserialize(deserializer)?;
            Self::from_number(number).ok_or_else(|| serde::de::Error::custom("unknown quantity number"))
        }
    }
}

/// One line of measurements: this quantity of this device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Series {
    /// Which part of the node.
    pub device: DeviceId,
    /// What of it.
    pub quantity: Quantity,
}

impl Series {
    /// Names a series.
    pub fn new(device: DeviceId, quantity: Quantity) -> Self {
        Self { device, quantity }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.quantity)
    }
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What was measured.
    pub series: Series,
    /// The value in the quantity's unit; `None` when the sensor was asked and could not say.
    pub value: Option<i64>,
}

/// A value with its unit as people read it: `91 °C`, `220 W`, `93.5 %`, `1.2 GiB`.
///
/// The text is for people and is not parsed back.
pub fn human(value: i64, unit: Unit) -> String {
    fn scaled(value: i64, divisor: i64, suffix: &str) -> String {
        let sign = if value < 0 { "-" } else { "" };
        // Cut off, not rounded: 84.96 must not read as "85 > 85".
        let tenths = u128::from(value.unsigned_abs()) * 10 / u128::from(divisor.unsigned_abs());
        if tenths % 10 == 0 {
            format!("{sign}{}{suffix}", tenths / 10)
        } else {
            format!("{sign}{}.{}{suffix}", tenths / 10, tenths % 10)
        }
    }
    fn bytes(value: i64, suffix: &str) -> String {
        const STEPS: [(i64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match STEPS
            .iter()
            .find(|(size, _)| value.unsigned_abs() >= size.unsigned_abs())
        {
            Some((size, name)) => scaled(value, *size, &format!(" {name}{suffix}")),
            None => format!("{value} B{suffix}"),
        }
    }
    match unit {
        Unit::MilliCelsius => scaled(value, 1_000, " °C"),
        Unit::Milliwatt => scaled(value, 1_000, " W"),
        Unit::BasisPoints => scaled(value, 100, " %"),
        Unit::Milli => scaled(value, 1_000, ""),
        Unit::Bytes => bytes(value, ""),
        Unit::BytesPerSecond => bytes(value, "/s"),
        Unit::MilliPerSecond => scaled(value, 1_000, " /s"),
        Unit::Milliseconds => scaled(value, 1_000, " s"),
        Unit::Megahertz => format!("{value} MHz"),
        Unit::Count => value.to_string(),
        Unit::Flag => (if value == 0 { "no" } else { "yes" }).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_knows_its_class_and_name() {
        for (text, class, name) in [
            ("gpu0", "gpu", "0"),
            ("node", "node", ""),
            ("fs:/var", "fs", "/var"),
            ("workload:train", "workload", "train"),
        ] {
            let device = DeviceId::new(text).expect("valid");
            assert_eq!((device.class(), device.name()), (class, name));
        }
        for bad in ["", "GPU0", "a b", "7", &"x".repeat(129)] {
            assert!(DeviceId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_unit_has_the_same_name_in_json_and_in_the_contract_with_brains() {
        for quantity in Quantity::ALL {
            let unit = quantity.unit();
            assert_eq!(serde_json::to_value(unit).expect("a word"), unit.name());
        }
    }

    #[test]
    fn every_quantity_has_one_name_and_one_number() {
        for (number, quantity) in Quantity::ALL.iter().enumerate() {
            assert_eq!(quantity.name().parse(), Ok(*quantity));
            assert_eq!(
                Quantity::from_number(u16::try_from(number).expect("few")),
                Some(*quantity)
            );
        }
    }

    #[test]
    fn people_read_values_in_their_units() {
        for (value, unit, text) in [
            (91_000, Unit::MilliCelsius, "91 °C"),
            (91_540, Unit::MilliCelsius, "91.5 °C"),
            (-500, Unit::MilliCelsius, "-0.5 °C"),
            (220_000, Unit::Milliwatt, "220 W"),
            (9_350, Unit::BasisPoints, "93.5 %"),
            (1 << 30, Unit::Bytes, "1 GiB"),
            (1_288_490_188, Unit::Bytes, "1.1 GiB"),
            (512, Unit::BytesPerSecond, "512 B/s"),
            (1, Unit::Flag, "yes"),
            (i64::MIN, Unit::Bytes, "-8388608 TiB"),
        ] {
            assert_eq!(human(value, unit), text);
        }
    }
}
