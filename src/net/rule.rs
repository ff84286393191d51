//! Rules: which table a packet is looked up in.

use std::net::Ipv4Addr;

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{IpVersion, RuleAddRequest};

use super::{Error, Netlink, refused};

/// A rule that sends packets to a table. What is not given matches every packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Where in the order of rules it stands; none leaves it to the kernel.
    pub priority: Option<u32>,
    /// The link that the packet came in by.
    pub link: Option<String>,
    /// Where it comes from.
    pub source: Option<Ipv4Net>,
    /// Where it goes.
    pub destination: Option<Ipv4Net>,
    /// Its firewall mark.
    pub mark: Option<u32>,
    /// The table.
    pub table: u32,
}

impl Rule {
    /// Returns a rule that sends every packet to a table.
    #[must_use]
    pub const fn new(table: u32) -> Self {
        Self { priority: None, link: None, source: None, destination: None, mark: None, table }
    }

    fn read(message: &RuleMessage) -> Option<Self> {
        let header = &message.header;
        if header.family != AddressFamily::Inet || header.action != RuleAction::ToTable {
            return None;
        }

        let mut rule = Self::new(header.table.into());
        for attribute in &message.attributes {
            if let RuleAttribute::Priority(priority) = attribute {
                rule.priority = Some(*priority);
            } else if let RuleAttribute::Iifname(link) = attribute {
                rule.link = Some(link.clone());
            } else if let RuleAttribute::Source(std::net::IpAddr::V4(source)) = attribute {
                rule.source = Ipv4Net::new(*source, header.src_len).ok();
            } else if let RuleAttribute::Destination(std::net::IpAddr::V4(to)) = attribute {
                rule.destination = Ipv4Net::new(*to, header.dst_len).ok();
            } else if let RuleAttribute::FwMark(mark) = attribute {
                rule.mark = Some(*mark);
            } else if let RuleAttribute::Table(table) = attribute {
                rule.table = *table;
            }
        }

        Some(rule)
    }
}

impl Netlink {
    /// Returns all rules that lead to a table.
    pub async fn rules(&self) -> Result<Vec<Rule>, Error> {
        let _one_dump_per_socket = self.dump.lock().await;

        let rules = self.handle.rule().get(IpVersion::V4).execute();
        let rules = rules.map_ok(|rule| Rule::read(&rule)).try_collect::<Vec<_>>().await;
        let rules = rules.map_err(refused(|| "list rules".to_owned()))?;

        Ok(rules.into_iter().flatten().collect())
    }

    /// Adds a rule.
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), Error> {
        let added = self.request(rule).execute().await;
        added.map_err(refused(|| format!("add a rule to table {}", rule.table)))
    }

    /// Removes a rule.
    pub async fn remove_rule(&self, rule: &Rule) -> Result<(), Error> {
        let message = self.request(rule).message_mut().clone();

        let removed = self.handle.rule().del(message).execute().await;
        removed.map_err(refused(|| format!("remove a rule to table {}", rule.table)))
    }

    fn request(&self, rule: &Rule) -> RuleAddRequest<Ipv4Addr> {
        let mut request = self.handle.rule().add().v4().action(RuleAction::ToTable);

        request = request.table_id(rule.table);
        if let Some(priority) = rule.priority {
            request = request.priority(priority);
        }
        if let Some(link) = &rule.link {
            request = request.input_interface(link);
        }
        if let Some(source) = rule.source {
            request = request.source_prefix(source.network(), source.prefix_len());
        }
        if let Some(to) = rule.destination {
            request = request.destination_prefix(to.network(), to.prefix_len());
        }
        if let Some(mark) = rule.mark {
            request = request.fw_mark(mark);
        }

        request
    }
}
