<?php

// routes/channels.php: who may subscribe to private and presence channels. The
// names have no prefix here: orders.{id} is for private-orders.1.

use App\Models\Order;
use Illuminate\Support\Facades\Broadcast;

Broadcast::channel('user.{id}', fn ($user, $id) => (string) $user->id === $id);

Broadcast::channel('orders.{id}', fn ($user, $id) => Order::find($id)?->user_id === $user->id);

// Of a presence channel: what the others see of the user.
Broadcast::channel('room.{id}', fn ($user, $id) => ['id' => $user->id, 'name' => $user->name]);
