//! What a server may change without a command that anybody sees, as text of its own answers (C6). Pure.
//!
//! `SWAPDB` invalidates no key: its count in `INFO commandstats` gives it away. That count can be reset, which the count of
//! INFO itself gives away: asked with every beat, it must have grown since the last one.
//!
//! A cluster's node loses and takes slots by messages of the cluster bus. What it answers for can be told from its own line in
//! `CLUSTER NODES`, its state and its epochs: a node that loses a slot by the bus changes its line, and takes one back only
//! with an epoch of its own that is higher than before. So two looks that see the same have had the same in between, but for
//! what commands did (`CLUSTER SETSLOT` and its like), which the programs see or the look does.

/// What must stay the same for entries to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ownership {
    swaps: u64,
    /// How often INFO was asked for.
    infos: u64,
    /// Of a cluster's node: its state, epochs and slots.
    cluster: Option<Cluster>,
}

/// What a cluster's node answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cluster {
    /// Of `CLUSTER INFO`: the state, the highest epoch that was heard of, the node's own.
    state: Vec<String>,
    /// Of `CLUSTER NODES`: the node's own line without what changes all the time.
    myself: Vec<String>,
}

/// Lines of `CLUSTER INFO` that matter.
const STATE: [&str; 3] = ["cluster_state:", "cluster_current_epoch:", "cluster_my_epoch:"];

/// Fields of a line of `CLUSTER NODES` that change all the time: when it was pinged, when it answered. A node does neither
/// with itself; versions differ in what they write there.
const TIMES: std::ops::Range<usize> = 4..6;

impl Ownership {
    /// From `INFO commandstats`.
    pub(crate) fn of_stats(stats: &str) -> Self {
        let calls = |command: &str| {
            let count = stats.lines().find_map(|line| {
                line.strip_prefix("cmdstat_")?.strip_prefix(command)?.strip_prefix(":calls=")
            });
            count.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
        };
        Self { swaps: calls("swapdb"), infos: calls("info"), cluster: None }
    }

    /// Adds what `CLUSTER INFO` said.
    pub(crate) fn add_cluster_info(&mut self, info: &str) {
        let matters = |line: &&str| STATE.iter().any(|field| line.starts_with(field));
        let state = info.lines().filter(matters).map(|line| line.trim().to_owned()).collect();
        self.cluster.get_or_insert_default().state = state;
    }

    /// Adds what `CLUSTER NODES` said. False if the node itself is not among them.
    #[must_use]
    pub(crate) fn add_cluster_nodes(&mut self, nodes: &str) -> bool {
        let own = nodes
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2).is_some_and(|flags| flags.split(',').any(|flag| flag == "myself")));
        let Some(own) = own else { return false };
        let fields = own.iter().enumerate().filter(|(i, _)| !TIMES.contains(i));
        self.cluster.get_or_insert_default().myself = fields.map(|(_, field)| (*field).to_owned()).collect();
        true
    }

    /// Whether what was cached at `before` may be another's, or another value, by now.
    pub(crate) fn changed_since(&self, before: &Self) -> bool {
        // The INFO that told of `before` is counted itself, after it was answered.
        let reset = self.infos <= before.infos;
        reset || self.swaps != before.swaps || self.cluster != before.cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(infos: u64, swaps: u64) -> Ownership {
        Ownership::of_stats(&format!(
            "# Commandstats\r\ncmdstat_info:calls={infos},usec=1\r\ncmdstat_swapdb:calls={swaps},usec=34,usec_per_call=2\r\n"
        ))
    }

    #[test]
    fn swaps_are_counted() {
        assert!(!stats(2, 12).changed_since(&stats(1, 12)));
        assert!(stats(2, 13).changed_since(&stats(1, 12)));
        let never = Ownership::of_stats("# Commandstats\r\ncmdstat_info:calls=9,usec=1\r\n");
        assert!(!never.changed_since(&Ownership::of_stats("cmdstat_info:calls=8\r\n")));
        assert!(stats(10, 1).changed_since(&never));
    }

    #[test]
    fn counts_that_were_reset_tell_nothing() {
        assert!(stats(1, 0).changed_since(&stats(40, 0)));
        assert!(stats(40, 0).changed_since(&stats(40, 0)));
    }

    const INFO: &str = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:6\r\n\
        cluster_my_epoch:2\r\ncluster_stats_messages_sent:1483972\r\n";
    const NODES: &str = "67ed 10.0.0.1:7002@17002,host master - 0 1426238316232 3 connected 5461-10922\n\
        07c3 10.0.0.1:7000@17000 myself,master - 0 0 2 connected 0-5460 [5461-<-67ed] [3-<-67ed]\n";

    fn node(info: &str, nodes: &str) -> Ownership {
        let mut seen = stats(1, 0);
        seen.add_cluster_info(info);
        assert!(seen.add_cluster_nodes(nodes));
        seen.infos = 0;
        seen
    }

    fn changed(info: &str, nodes: &str) -> bool {
        let mut now = node(info, nodes);
        now.infos = 1;
        now.changed_since(&node(INFO, NODES))
    }

    #[test]
    fn a_node_is_what_it_answers_for() {
        // What other nodes do, and times, are nothing to it.
        assert!(!changed(
            &INFO.replace("1483972", "1483980"),
            &NODES.replace("1426238316232", "1426238317239")
        ));
        assert!(!changed(INFO, &NODES.replace("0 0 2", "5 7 2")));
        assert!(!changed(INFO, &NODES.replace("5461-10922", "5461-10921")));
        for (from, to) in [
            ("0-5460", "0-5459"),
            ("0-5460 ", "0-5460 7000 "),
            (" [3-<-67ed]", ""),
            ("[3-<-67ed]", "[3->-67ed]"),
            ("myself,master -", "myself,slave 67ed"),
            ("0 0 2 connected", "0 0 7 connected"),
        ] {
            assert!(changed(INFO, &NODES.replace(from, to)), "{from} -> {to}");
        }
        for (from, to) in
            [("state:ok", "state:fail"), ("my_epoch:2", "my_epoch:7"), ("current_epoch:6", "current_epoch:7")]
        {
            assert!(changed(&INFO.replace(from, to), NODES), "{from} -> {to}");
        }
    }

    #[test]
    fn without_itself_it_is_no_answer() {
        assert!(
            !Ownership::default().add_cluster_nodes("67ed 10.0.0.1:7002@17002 master - 0 0 3 connected\n")
        );
        assert!(!Ownership::default().add_cluster_nodes(""));
    }
}
