//! Interfaces from `/proc/net/dev`, protocol counters from `snmp`, `netstat` and `sockstat`.
//!
//! Source: proc_pid_net(5). `snmp` and `netstat` are pairs of lines, names then values, whose columns grow with the kernel's version:
//! columns are found by name, once for each shape of the header.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wire::{DeviceId, Quantity};

use super::{How, Metric, PER_SECOND, ProcFile, Round, Sensor, device, lines, number, words};

const COUNT: How = How::Gauge(1);

/// `/proc/net/dev`.
pub struct Interfaces {
    file: ProcFile,
    known: BTreeMap<Vec<u8>, Interface>,
}

impl Interfaces {
    /// Opens the file.
    pub fn open() -> Option<Self> {
        Some(Self {
            file: ProcFile::open("/proc/net/dev")?,
            known: BTreeMap::new(),
        })
    }
}

impl Sensor for Interfaces {
    fn sample(&mut self, round: &mut Round) {
        let known = &mut self.known;
        round.read(&self.file, |round, bytes| interfaces(known, bytes, is_card, round));
    }
}

/// Whether hardware stands behind an interface of this name, as sysfs says.
fn is_card(name: &[u8]) -> bool {
    let folder = Path::new("/sys/class/net").join(OsStr::from_bytes(name));
    folder.join("device").exists()
}

struct Interface {
    device: DeviceId,
    /// Hardware stands behind it.
    is_card: bool,
    columns: [(usize, Metric); 10],
}

impl Interface {
    fn new(name: &[u8], is_card: bool) -> Self {
        Self {
            device: device("net", name),
            is_card,
            columns: [
                (0, Metric::new(Quantity::NetReceived, How::Rate(1))),
                (1, Metric::new(Quantity::NetPacketsReceived, PER_SECOND)),
                (2, Metric::new(Quantity::NetReceiveErrors, COUNT)),
                (3, Metric::new(Quantity::NetReceiveDropped, COUNT)),
                (7, Metric::new(Quantity::NetMulticast, PER_SECOND)),
                (8, Metric::new(Quantity::NetSent, How::Rate(1))),
                (9, Metric::new(Quantity::NetPacketsSent, PER_SECOND)),
                (10, Metric::new(Quantity::NetSendErrors, COUNT)),
                (11, Metric::new(Quantity::NetSendDropped, COUNT)),
                (13, Metric::new(Quantity::NetCollisions, COUNT)),
            ],
        }
    }
}

/// Containers come and go: virtual interfaces beyond this are not followed. Real cards always are.
const MOST_VIRTUAL: usize = 64;

fn interfaces(
    known: &mut BTreeMap<Vec<u8>, Interface>,
    bytes: &[u8],
    is_card: impl Fn(&[u8]) -> bool,
    round: &mut Round,
) {
    let name = |line: &[u8]| {
        line.iter()
            .rposition(|byte| *byte == b':')
            .map(|colon| line[..colon].trim_ascii().to_vec())
    };
    // What is gone makes room, and begins anew when it comes again.
    let listed: BTreeSet<Vec<u8>> = lines(bytes).skip(2).filter_map(name).collect();
    known.retain(|name, _| listed.contains(name));
    let mut left_out = 0;
    for line in lines(bytes).skip(2) {
        let Some(colon) = line.iter().rposition(|byte| *byte == b':') else {
            continue;
        };
        let name = line[..colon].trim_ascii();
        if !known.contains_key(name) {
            let is_card = is_card(name);
            if !is_card && known.values().filter(|one| !one.is_card).count() >= MOST_VIRTUAL {
                left_out += 1;
                continue;
            }
            known.insert(name.to_vec(), Interface::new(name, is_card));
        }
        let Some(interface) = known.get_mut(name) else {
            continue;
        };
        let mut wanted = interface.columns.iter_mut().peekable();
        for (column, word) in words(&line[colon + 1..]).enumerate() {
            match (wanted.peek().map(|(next, _)| *next), number(word)) {
                (Some(next), Some(raw)) if next == column => {
                    if let Some((_, metric)) = wanted.next() {
                        metric.take(&interface.device, raw, round);
                    }
                }
                _ => {}
            }
        }
    }
    if left_out > 0 {
        round.limit(format!(
            "more than {MOST_VIRTUAL} virtual network interfaces: {left_out} are not looked at"
        ));
    }
}

/// `/proc/net/snmp`, `netstat` and `sockstat`.
pub struct Protocols {
    pairs: Vec<(ProcFile, Pairs)>,
    sockets: Option<ProcFile>,
}

impl Protocols {
    /// Opens what is there.
    pub fn open() -> Option<Self> {
        let pairs: Vec<_> = ["/proc/net/snmp", "/proc/net/netstat"]
            .iter()
            .filter_map(|path| Some((ProcFile::open(path)?, Pairs::default())))
            .collect();
        let sockets = ProcFile::open("/proc/net/sockstat");
        (!pairs.is_empty() || sockets.is_some()).then_some(Self { pairs, sockets })
    }
}

impl Sensor for Protocols {
    fn sample(&mut self, round: &mut Round) {
        for (file, pairs) in &mut self.pairs {
            round.read(file, |round, bytes| pairs.parse(bytes, round));
        }
        if let Some(file) = &self.sockets {
            round.read(file, sockets);
        }
    }
}

/// (line, column, quantity, how).
const COLUMNS: &[(&str, &str, Quantity, How)] = &[
    ("Ip:", "InReceives", Quantity::IpReceived, PER_SECOND),
    ("Ip:", "ForwDatagrams", Quantity::IpForwarded, PER_SECOND),
    ("Ip:", "InDiscards", Quantity::IpDiscarded, PER_SECOND),
    ("Ip:", "InDelivers", Quantity::IpDelivered, PER_SECOND),
    ("Ip:", "OutRequests", Quantity::IpSent, PER_SECOND),
    ("Ip:", "OutNoRoutes", Quantity::IpNoRoutes, PER_SECOND),
    ("Icmp:", "InMsgs", Quantity::IcmpReceived, PER_SECOND),
    ("Icmp:", "InErrors", Quantity::IcmpErrors, PER_SECOND),
    ("Icmp:", "OutMsgs", Quantity::IcmpSent, PER_SECOND),
    ("Tcp:", "ActiveOpens", Quantity::TcpActiveOpens, PER_SECOND),
    ("Tcp:", "PassiveOpens", Quantity::TcpPassiveOpens, PER_SECOND),
    ("Tcp:", "AttemptFails", Quantity::TcpAttemptFails, PER_SECOND),
    ("Tcp:", "EstabResets", Quantity::TcpResets, PER_SECOND),
    ("Tcp:", "CurrEstab", Quantity::TcpEstablished, COUNT),
    ("Tcp:", "InSegs", Quantity::TcpReceived, PER_SECOND),
    ("Tcp:", "OutSegs", Quantity::TcpSent, PER_SECOND),
    ("Tcp:", "RetransSegs", Quantity::TcpRetransmits, PER_SECOND),
    ("Tcp:", "InErrs", Quantity::TcpErrors, PER_SECOND),
    ("Tcp:", "OutRsts", Quantity::TcpResetsSent, PER_SECOND),
    ("Udp:", "InDatagrams", Quantity::UdpReceived, PER_SECOND),
    ("Udp:", "NoPorts", Quantity::UdpNoPorts, PER_SECOND),
    ("Udp:", "InErrors", Quantity::UdpErrors, PER_SECOND),
    ("Udp:", "OutDatagrams", Quantity::UdpSent, PER_SECOND),
    ("Udp:", "RcvbufErrors", Quantity::UdpBufferErrors, PER_SECOND),
    ("Tcp:", "InCsumErrors", Quantity::TcpChecksumErrors, PER_SECOND),
    ("Udp:", "SndbufErrors", Quantity::UdpSendBufferErrors, PER_SECOND),
    ("Udp:", "InCsumErrors", Quantity::UdpChecksumErrors, PER_SECOND),
    ("Ip:", "InHdrErrors", Quantity::IpHeaderErrors, PER_SECOND),
    ("Ip:", "OutDiscards", Quantity::IpSendDiscarded, PER_SECOND),
    ("Ip:", "ReasmFails", Quantity::IpReassemblyFails, PER_SECOND),
    ("Ip:", "FragCreates", Quantity::IpFragmented, PER_SECOND),
    ("Icmp:", "InDestUnreachs", Quantity::IcmpUnreachableReceived, PER_SECOND),
    ("Icmp:", "OutDestUnreachs", Quantity::IcmpUnreachableSent, PER_SECOND),
    ("Icmp:", "InEchos", Quantity::IcmpEchoReceived, PER_SECOND),
    ("TcpExt:", "TCPFastRetrans", Quantity::TcpFastRetransmits, PER_SECOND),
    (
        "TcpExt:",
        "TCPSlowStartRetrans",
        Quantity::TcpSlowStartRetransmits,
        PER_SECOND,
    ),
    ("TcpExt:", "TCPLostRetransmit", Quantity::TcpLostRetransmits, PER_SECOND),
    ("TcpExt:", "TCPRetransFail", Quantity::TcpRetransmitFails, PER_SECOND),
    ("TcpExt:", "TCPBacklogDrop", Quantity::TcpBacklogDrops, PER_SECOND),
    ("TcpExt:", "TCPRcvQDrop", Quantity::TcpReceiveQueueDrops, PER_SECOND),
    ("TcpExt:", "PruneCalled", Quantity::TcpPruned, PER_SECOND),
    (
        "TcpExt:",
        "TCPMemoryPressures",
        Quantity::TcpMemoryPressures,
        PER_SECOND,
    ),
    ("TcpExt:", "TCPAbortOnData", Quantity::TcpAbortsOnData, PER_SECOND),
    ("TcpExt:", "TCPAbortOnTimeout", Quantity::TcpAbortsOnTimeout, PER_SECOND),
    ("TcpExt:", "TCPAbortOnMemory", Quantity::TcpAbortsOnMemory, PER_SECOND),
    ("TcpExt:", "TCPOFOQueue", Quantity::TcpOutOfOrder, PER_SECOND),
    ("TcpExt:", "DelayedACKs", Quantity::TcpDelayedAcks, PER_SECOND),
    ("TcpExt:", "TCPKeepAlive", Quantity::TcpKeepAlives, PER_SECOND),
    ("TcpExt:", "SyncookiesSent", Quantity::TcpSynCookiesSent, PER_SECOND),
    ("TcpExt:", "SyncookiesFailed", Quantity::TcpSynCookiesFailed, PER_SECOND),
    ("IpExt:", "InOctets", Quantity::IpReceivedBytes, How::Rate(1)),
    ("IpExt:", "OutOctets", Quantity::IpSentBytes, How::Rate(1)),
    ("TcpExt:", "ListenOverflows", Quantity::TcpListenOverflows, PER_SECOND),
    ("TcpExt:", "ListenDrops", Quantity::TcpListenDrops, PER_SECOND),
    ("TcpExt:", "TCPTimeouts", Quantity::TcpTimeouts, PER_SECOND),
    ("TcpExt:", "TCPSynRetrans", Quantity::TcpSynRetransmits, PER_SECOND),
];

/// One pair of lines: its header as seen last, and which columns are wanted, ascending.
#[derive(Default)]
struct Shape {
    header: Vec<u8>,
    wanted: Vec<(usize, Metric)>,
}

#[derive(Default)]
struct Pairs {
    shapes: Vec<Shape>,
}

impl Pairs {
    fn parse(&mut self, bytes: &[u8], round: &mut Round) {
        let node = DeviceId::node();
        let mut all = lines(bytes);
        let mut index = 0;
        while let (Some(header), Some(values)) = (all.next(), all.next()) {
            if index == self.shapes.len() {
                self.shapes.push(Shape::default());
            }
            let shape = &mut self.shapes[index];
            index += 1;
            if shape.header != header {
                *shape = Shape::of(header);
            }
            let mut wanted = shape.wanted.iter_mut().peekable();
            for (column, word) in words(values).enumerate() {
                let Some(next) = wanted.peek().map(|(next, _)| *next) else {
                    break;
                };
                if next == column
                    && let Some((_, metric)) = wanted.next()
                    && let Some(raw) = number(word)
                {
                    metric.take(&node, raw, round);
                }
            }
        }
    }
}

impl Shape {
    fn of(header: &[u8]) -> Self {
        let name = words(header).next().unwrap_or_default();
        let wanted = words(header)
            .enumerate()
            .filter_map(|(column, word)| {
                let (_, _, quantity, how) = COLUMNS
                    .iter()
                    .find(|(line, key, _, _)| line.as_bytes() == name && key.as_bytes() == word)?;
                Some((column, Metric::new(*quantity, *how)))
            })
            .collect();
        Self {
            header: header.to_vec(),
            wanted,
        }
    }
}

fn sockets(round: &mut Round, bytes: &[u8]) {
    // Memory is counted in pages.
    let page = rustix::param::page_size() as i64;
    let wanted: [(&[u8], &[u8], Quantity, i64); 8] = [
        (b"sockets:", b"used", Quantity::SocketsUsed, 1),
        (b"TCP:", b"inuse", Quantity::TcpInUse, 1),
        (b"TCP:", b"orphan", Quantity::TcpOrphans, 1),
        (b"TCP:", b"tw", Quantity::TcpTimeWait, 1),
        (b"TCP:", b"alloc", Quantity::TcpAllocated, 1),
        (b"TCP:", b"mem", Quantity::TcpMemory, page),
        (b"UDP:", b"inuse", Quantity::UdpInUse, 1),
        (b"UDP:", b"mem", Quantity::UdpMemory, page),
    ];
    let node = DeviceId::node();
    for line in lines(bytes) {
        let mut found = words(line);
        let name = found.next().unwrap_or_default();
        while let (Some(key), Some(value)) = (found.next(), found.next()) {
            let known = wanted.iter().find(|(line, word, _, _)| *line == name && *word == key);
            if let Some((_, _, quantity, factor)) = known {
                let value = number(value).and_then(|value| i64::try_from(value).ok()?.checked_mul(*factor));
                round.note(&node, *quantity, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{second_round, told, value};
    use super::*;

    #[test]
    fn interfaces_are_read_by_column() {
        let file = |bytes: u64, packets: u64| {
            format!(
                "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n  eth0: {bytes} {packets} 1 2 0 0 0 5 878482 9014 3 4 0 6 0 0\n"
            )
        };
        let mut known = BTreeMap::new();
        interfaces(&mut known, file(1_000, 10).as_bytes(), |_| true, &mut Round::default());
        let mut round = second_round();
        interfaces(&mut known, file(3_000, 12).as_bytes(), |_| true, &mut round);
        let told = told(&mut round);
        for (series, expected) in [
            ("net:eth0/net.received", "2000"),
            ("net:eth0/net.packets_received", "2000"),
            ("net:eth0/net.sent", "0"),
            ("net:eth0/net.receive_errors", "1"),
            ("net:eth0/net.send_dropped", "4"),
            ("net:eth0/net.collisions", "6"),
        ] {
            assert_eq!(value(&told, series), expected, "{series}");
        }
    }

    #[test]
    fn columns_are_found_by_name_even_when_the_kernel_adds_some() {
        let mut pairs = Pairs::default();
        pairs.parse(
            b"Tcp: RtoMin CurrEstab RetransSegs\nTcp: 200 7 100\n",
            &mut Round::default(),
        );
        let mut round = second_round();
        pairs.parse(b"Tcp: RtoMin CurrEstab RetransSegs\nTcp: 200 8 103\n", &mut round);
        assert_eq!(
            told(&mut round),
            ["node/tcp.established 8", "node/tcp.retransmits 3000"]
        );
        let mut round = second_round();
        pairs.parse(b"Tcp: New CurrEstab Newer RetransSegs\nTcp: 1 9 2 104\n", &mut round);
        assert_eq!(told(&mut round), ["node/tcp.established 9", "node/tcp.retransmits -"]);
        pairs.parse(b"Tcp: a\n", &mut second_round());
    }

    #[test]
    fn a_card_is_seen_behind_a_hundred_containers_and_what_is_gone_is_forgotten() {
        let table = |virtuals: std::ops::Range<u32>| {
            let mut text = "head\nhead\n".to_owned();
            virtuals.for_each(|number| text.push_str(&format!("veth{number}: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")));
            text + "eth0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        };
        let is_card = |name: &[u8]| name == b"eth0";
        let mut known = BTreeMap::new();
        let mut round = Round::default();
        interfaces(&mut known, table(0..100).as_bytes(), is_card, &mut round);
        assert!(known.contains_key(b"eth0".as_slice()));
        assert_eq!(
            round.limits,
            ["more than 64 virtual network interfaces: 36 are not looked at"]
        );
        let mut round = Round::default();
        interfaces(&mut known, table(90..110).as_bytes(), is_card, &mut round);
        assert_eq!((known.len(), round.limits.len()), (21, 0));
    }

    #[test]
    fn sockets_are_counted() {
        let mut round = Round::default();
        sockets(
            &mut round,
            b"sockets: used 16\nTCP: inuse 1 orphan 0 tw 3 alloc 1 mem 298\nUDP: inuse 2 mem 0\n",
        );
        let told = told(&mut round);
        assert_eq!(value(&told, "node/tcp.time_wait"), "3");
        assert_eq!(value(&told, "node/udp.in_use"), "2");
        assert_eq!(value(&told, "node/kernel.sockets"), "16");
    }
}
