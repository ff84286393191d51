//! What the kernel tells of links as they change, without being asked.

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::SocketAddr;
use tokio::task::AbortHandle;

use super::{Error, Link};

/// The changes of all links in the namespace where it was opened.
#[derive(Debug)]
pub struct LinkChanges {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connection: AbortHandle,
}

impl LinkChanges {
    /// Subscribes to the changes from now on, served by the current runtime.
    pub fn open() -> Result<Self, Error> {
        let (connection, _handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(Error::Connect)?;
        let connection = tokio::spawn(connection).abort_handle();

        Ok(Self { messages, connection })
    }

    /// Waits for the next change and returns the link as it is after it; none if the kernel has
    /// hung up.
    pub async fn next(&mut self) -> Option<Link> {
        loop {
            let (message, _from) = self.messages.next().await?;
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) =
                message.payload
            {
                return Some(Link::read(&link));
            }
        }
    }
}

impl Drop for LinkChanges {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
