<?php

// What an application has beside the examples: a model, and events that leave
// to Laravel what OrderUpdated says itself.

namespace App\Models {
    class Order
    {
        public function __construct(public int $id, public ?int $user_id = null)
        {
        }

        /** The order of that number, which the user of that number has made. */
        public static function find(string $id): ?self
        {
            return ctype_digit($id) ? new self((int) $id, (int) $id) : null;
        }
    }
}

namespace Tests {
    use Illuminate\Broadcasting\InteractsWithSockets;
    use Illuminate\Contracts\Broadcasting\ShouldBroadcast;
    use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

    class Said implements ShouldBroadcast
    {
        use InteractsWithSockets;

        public function __construct(private array $channels, public string $text, public array $more = [])
        {
        }

        public function broadcastOn(): array
        {
            return $this->channels;
        }
    }

    class SaidNow extends Said implements ShouldBroadcastNow
    {
    }
}
