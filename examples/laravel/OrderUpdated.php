<?php

namespace App\Events;

use App\Models\Order;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\InteractsWithSockets;
use Illuminate\Contracts\Broadcasting\ShouldBroadcast;
use Illuminate\Queue\SerializesModels;

/** An order has changed: broadcast(new OrderUpdated($order))->toOthers(). */
class OrderUpdated implements ShouldBroadcast
{
    use InteractsWithSockets, SerializesModels;

    public function __construct(public Order $order)
    {
    }

    /** Everyone may listen. For those whom routes/channels.php lets in: new PrivateChannel(…). */
    public function broadcastOn(): Channel
    {
        return new Channel("orders.{$this->order->id}");
    }

    /** The name for socket.on; without this method it is the class, "App\Events\OrderUpdated". */
    public function broadcastAs(): string
    {
        return 'order.updated';
    }

    /** The argument of the handler; without this method it is all public properties. */
    public function broadcastWith(): array
    {
        return ['id' => $this->order->id];
    }
}
