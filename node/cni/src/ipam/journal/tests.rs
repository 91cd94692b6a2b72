//! What outlives a process that is killed at any moment.

use super::*;

const RANGES: [&str; 2] = ["10.244.1.0/24", "fd00:244:1::/64"];

fn reopen(path: &Path) -> Ipam {
    let mut ipam = Ipam::open(path).unwrap();
    ipam.set_ranges(&RANGES.map(|net| net.parse().unwrap()));
    ipam
}

fn open(folder: &tempfile::TempDir) -> Ipam {
    reopen(&folder.path().join("ipam.journal"))
}

#[test]
fn leases_and_rests_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut ipam = open(&folder);
    let first = ipam.acquire("a", "default/a", false, &|_| false).unwrap();
    let second = ipam.acquire("b", "default/b", false, &|_| false).unwrap();
    assert_eq!(second, ["10.244.1.3".parse::<IpAddr>().unwrap(), "fd00:244:1::3".parse().unwrap()]);
    ipam.release("a").unwrap();
    drop(ipam);
    for _ in 0..2 {
        let mut ipam = open(&folder);
        assert_eq!(ipam.acquire("b", "default/b", false, &|_| false).unwrap(), second);
        assert_eq!(ipam.lease_of("a"), None);
        let resting: Vec<IpAddr> = ipam.pool.resting().map(|(address, _)| address).collect();
        assert_eq!(resting, first, "the rest of both is remembered");
    }
}

/// What a client was told, in order: leases and releases that had returned.
#[derive(Clone, Default)]
struct Told {
    leased: Vec<(String, Vec<IpAddr>)>,
    released: Vec<IpAddr>,
}

/// Some life: the journal's bytes after each answer, with what had been told by then.
fn life(path: &Path) -> (Vec<u8>, Vec<(usize, Told)>) {
    let mut ipam = reopen(path);
    let mut told = Told::default();
    let mut moments = vec![(0, told.clone())];
    for step in 0..6 {
        let sandbox = format!("s{step}");
        let addresses = ipam.acquire(&sandbox, "default/p", false, &|_| false).unwrap();
        told.leased.push((sandbox, addresses));
        moments.push((fs::read(path).unwrap().len(), told.clone()));
        if step % 3 == 2 {
            let (sandbox, addresses) = told.leased.remove(step / 3);
            ipam.release(&sandbox).unwrap();
            told.released.extend(addresses);
            moments.push((fs::read(path).unwrap().len(), told.clone()));
        }
    }
    (fs::read(path).unwrap(), moments)
}

#[test]
fn after_a_crash_at_any_moment_what_was_told_holds_and_nothing_is_reused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipam.journal");
    let (bytes, moments) = life(&path);
    // Every byte around the ends of lines, where whole and torn meet; some of those between.
    let near_an_end = |cut: usize| bytes[cut.saturating_sub(2)..bytes.len().min(cut + 2)].contains(&b'\n');
    for cut in (0..=bytes.len()).filter(|cut| cut % 16 == 0 || near_an_end(*cut)) {
        fs::write(&path, &bytes[..cut]).unwrap();
        let (_, told) = moments.iter().rev().find(|(length, _)| *length <= cut).unwrap();
        let mut ipam = reopen(&path);
        for (sandbox, addresses) in &told.leased {
            // The next answer's record may be whole already, though nobody was told: a release.
            if let Some(lease) = ipam.lease_of(sandbox) {
                assert_eq!(&lease.addresses, addresses, "cut at {cut}");
            } else {
                assert!(addresses.iter().all(|address| ipam.pool.resting().any(|(a, _)| a == *address)));
            }
        }
        assert!(ipam.leases().all(|lease| lease.addresses.len() == 2), "cut at {cut}: both families or none");
        let fresh = ipam.acquire("fresh", "default/fresh", false, &|_| false).unwrap();
        let held = told.leased.iter().flat_map(|(_, addresses)| addresses).chain(&told.released);
        assert!(
            held.into_iter().all(|address| !fresh.contains(address)),
            "cut at {cut}: {fresh:?} is in use or at rest"
        );
    }
}

#[test]
fn a_torn_last_line_is_as_if_never_written() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).acquire("a", "default/a", false, &|_| false).unwrap();
    let path = folder.path().join("ipam.journal");
    let mut text = fs::read(&path).unwrap();
    let whole = text.len();
    text.extend_from_slice(b"{\"lease\":{\"sandbox\":\"b\",");
    fs::write(&path, &text).unwrap();
    let ipam = open(&folder);
    assert!(ipam.lease_of("a").is_some() && ipam.lease_of("b").is_none());
    assert_eq!(fs::read(&path).unwrap().len(), whole);
}

#[test]
fn a_line_that_is_no_record_is_refused_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipam.journal");
    fs::write(&path, "{\"rest\":{\"address\":\"10.244.1.9\",\"second\":1}}\nnonsense\n").unwrap();
    let error = Ipam::open(&path).unwrap_err();
    assert!(matches!(error, IpamError::Corrupt { line: 2, .. }), "{error}");
}

#[test]
fn the_journal_is_shortened_before_it_is_long() {
    let folder = tempfile::tempdir().unwrap();
    let mut ipam = open(&folder);
    let kept = ipam.acquire("kept", "default/p", false, &|_| false).unwrap();
    // As if the others had been.
    ipam.records += SURPLUS_MAX + 1;
    ipam.acquire("a", "default/p", false, &|_| false).unwrap();
    ipam.release("a").unwrap();
    let text = fs::read_to_string(folder.path().join("ipam.journal")).unwrap();
    assert_eq!((ipam.records, text.lines().count()), (3, 3), "{text}");
    assert_eq!(open(&folder).lease_of("kept").unwrap().addresses, kept);
}
